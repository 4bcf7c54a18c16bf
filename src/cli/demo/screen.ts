import type { Host } from '../../host.ts';

/** Where the picture is shown: redrawn in place on a terminal, or line by line anywhere else. */
export interface Screen {
  draw(lines: readonly string[]): void;
}

const defaultRows = 40;

/**
 * Redraws in place with the control sequences of ECMA-48: back to the first line of the last drawing, each line with the
 * rest of it erased, and what is left of a longer drawing erased. What does not fit the height is left out: lines that
 * have scrolled away cannot be reached again.
 */
export function createScreen(output: Host['stdout']): Screen {
  let drawn = 0;
  return {
    draw(lines) {
      const shown = lines.slice(0, Math.max(1, (output.rows ?? defaultRows) - 1));
      const back = drawn === 0 ? '' : `\u001b[${drawn}F`;
      output.write(`${back}${shown.map((line) => `${line}\u001b[K\n`).join('')}\u001b[J`);
      drawn = shown.length;
    },
  };
}
