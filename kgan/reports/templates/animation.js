
const slider = document.querySelector("#step");
if (slider) {
  const steps = slider.dataset.steps.split(" ").map(Number);
  const output = document.querySelector("output");
  const lists = [...document.querySelectorAll(".frames")].map((list) => [...list.children]);
  const show = () => {
    const step = steps[slider.value];
    for (const frames of lists) {
      const reached = frames.filter((frame) => Number(frame.dataset.step) <= step);
      const shown = reached.at(-1) ?? frames[0];
      for (const frame of frames) frame.hidden = frame !== shown;
    }
    output.value = step.toLocaleString("en");
    slider.setAttribute("aria-valuetext", `step ${output.value}`);
  };
  slider.addEventListener("input", show);
  document.body.classList.add("live");
  slider.parentElement.hidden = false;
  show();
}
