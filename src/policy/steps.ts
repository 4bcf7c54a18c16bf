/** Takes all steps of some work at once. */
export function finish<T>(steps: Iterator<void, T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** Whether whoever goes through very many small things should yield: to yield takes as long as some of them. */
export function isTurn(count: number): boolean {
  return count % 32 === 31;
}
