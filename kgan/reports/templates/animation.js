
for (const animation of document.querySelectorAll(".animation")) {
  const frames = [...animation.querySelectorAll("li")];
  const slider = animation.querySelector("input");
  const output = animation.querySelector("output");
  const show = () => {
    frames.forEach((frame, place) => { frame.hidden = place !== Number(slider.value); });
    output.value = frames[slider.value].querySelector(".step").textContent;
    slider.setAttribute("aria-valuetext", `step ${output.value}`);
  };
  slider.addEventListener("input", show);
  animation.classList.add("live");
  animation.querySelector(".control").hidden = false;
  show();
}
addEventListener("beforeprint", () => {
  for (const more of document.querySelectorAll("details")) more.open = true;
});
