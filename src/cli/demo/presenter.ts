import type { Host } from '../../host.ts';
import type { DemoOptions } from './options.ts';
import type { Picture } from './picture.ts';
import { createScreen } from './screen.ts';
import { renderLine, renderTable } from './table.ts';

/** Where a person sees what happens: a table on a terminal, lines anywhere else, standard error beside JSON. */
export interface Presenter {
  show(picture: Picture): void;
  say(sentence: string): void;
}

const defaultColumns = 120;

export function createPresenter(
  { stdout, stderr }: Pick<Host, 'stdout' | 'stderr'>,
  { json }: Pick<DemoOptions, 'json'>,
): Presenter {
  const output = json ? stderr : stdout;
  const say = (sentence: string) => void output.write(`${sentence}\n`);
  if (json || stdout.isTTY !== true) return { say, show: (picture) => say(renderLine(picture)) };
  const screen = createScreen(stdout);
  return { say, show: (picture) => screen.draw(renderTable(picture, stdout.columns ?? defaultColumns)) };
}
