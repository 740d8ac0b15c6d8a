/** For what answers an act: it is seen at once, and has the focus where a button lost it by being off while it worked. Its element needs tabIndex -1. */
export function intoSight(answer: HTMLElement | null) {
  answer?.scrollIntoView?.({ block: 'nearest' });
  if (answer && document.activeElement === document.body) answer.focus({ preventScroll: true });
}
