// Arrow keys move among the free slots of a day; without this module Tab goes through them all the same.
const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

document.getElementById("grid")?.addEventListener("keydown", (event) => {
  const step = steps[event.key];
  const from = event.target.closest?.(".slot");
  if (!step || !from) return;
  event.preventDefault();
  const here = from.getBoundingClientRect();
  const [down, right] = step;
  // Cells may span rows, so "the next one" is the nearest in that direction on the screen.
  let best = null;
  let least = Infinity;
  for (const other of event.currentTarget.querySelectorAll(".slot")) {
    const there = other.getBoundingClientRect();
    const along = down ? (there.top - here.top) * down : (there.left - here.left) * right;
    const beside = down ? Math.abs(there.left - here.left) : Math.abs(there.top - here.top);
    if (along > 1 && (down ? beside < here.width / 2 : true) && along + 4 * beside < least) {
      [best, least] = [other, along + 4 * beside];
    }
  }
  best?.focus();
});
