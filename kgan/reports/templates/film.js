
for (const film of document.querySelectorAll(".film")) {
  const frames = [...film.querySelectorAll("li")];
  const slider = film.querySelector("input");
  const output = film.querySelector("output");
  const show = () => {
    frames.forEach((frame, place) => { frame.hidden = place !== Number(slider.value); });
    output.value = frames[slider.value].querySelector(".step").textContent;
    slider.setAttribute("aria-valuetext", `step ${output.value}`);
  };
  slider.addEventListener("input", show);
  film.classList.add("live");
  film.querySelector(".control").hidden = false;
  show();
}
addEventListener("beforeprint", () => {
  for (const more of document.querySelectorAll("details")) more.open = true;
});
