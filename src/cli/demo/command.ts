import { systemClock } from '../../clock.ts';
import { exitCodes, FailureError } from '../../errors.ts';
import type { Host, Subcommand } from '../../host.ts';
import { withMesh } from './lifetime.ts';
import type { DemoOptions } from './options.ts';
import { readOptions } from './options.ts';
import { createPresenter } from './presenter.ts';
import type { RunFacts } from './report.ts';
import { brokenPromises, reportOf, summaryOf } from './report.ts';
import type { Stop } from './stop.ts';
import { stopExitCodes, watchForStop } from './stop.ts';
import { tellStory } from './story.ts';
import { factsOf, watchMesh } from './watch-mesh.ts';

/** How long each part of the story is shown: to whoever watches, and to `--once`. */
const watchedPartMs = 15_000;
const oncePartMs = 4_000;

/** `remora demo`: the whole mesh on this machine, until Ctrl-C or, with `--once`, for a while. */
export const run: Subcommand = async (host) => {
  const [first, second = ''] = host.args;
  if (first === 'observe') return (await import('./observe-command.ts')).observe(host, second);
  const parsed = readOptions(host);
  if (parsed.kind === 'done') return parsed.exitCode;
  const stop = watchForStop(host, systemClock);
  try {
    return parsed.options.once
      ? await runOnce(host, parsed.options, stop)
      : await runUntilStopped(host, parsed.options, stop);
  } finally {
    stop.close();
  }
};

async function runUntilStopped(host: Host, options: DemoOptions, stop: Stop): Promise<number> {
  const presenter = createPresenter(host, options);
  const { leftovers } = await withMesh(host, options, stop, presenter, async ({ mesh, crew, folder }) => {
    const show = watchMesh({ mesh, clock: systemClock, presenter, signal: stop.signal, crew });
    await tellStory({ mesh, folder, show }, watchedPartMs, Number.POSITIVE_INFINITY);
  });
  if (leftovers.length > 0) throw new FailureError(`Left behind after the clean-up: ${leftovers.join(', ')}`);
  presenter.say('Everything is removed');
  return exitCodes.ok;
}

async function runOnce(host: Host, options: DemoOptions, stop: Stop): Promise<number> {
  const presenter = createPresenter(host, options);
  const { result, leftovers } = await withMesh(host, options, stop, presenter, async ({ mesh, crew, folder }) => {
    const show = watchMesh({ mesh, clock: systemClock, presenter, signal: stop.signal, crew });
    const story = await Promise.race([tellStory({ mesh, folder, show }, oncePartMs, oncePartMs), crew.failure]);
    await mesh.endTraffic();
    const look = await mesh.look();
    const wireWithoutSidecars = await mesh.withoutSidecars();
    return { ...factsOf(look), story, wireWithoutSidecars, surroundings: mesh };
  });
  if (result === undefined) {
    presenter.say(
      `Stopped before there was a result${leftovers.length > 0 ? `, left behind: ${leftovers.join(', ')}` : ''}`,
    );
    return stopExitCodes[stop.reason() ?? 'SIGTERM'];
  }
  const facts: RunFacts = { ...result, leftovers };
  const report = reportOf(facts);
  host.stdout.write(options.json ? `${JSON.stringify(report)}\n` : `${summaryOf(report).join('\n')}\n`);
  const broken = brokenPromises(facts, result.surroundings);
  if (broken.length > 0) throw new FailureError(broken.join('\n'));
  return exitCodes.ok;
}
