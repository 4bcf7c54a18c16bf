import type { Clock } from '../../clock.ts';
import { FailureError, messageOf } from '../../errors.ts';
import type { Crew } from './crew.ts';
import type { Look, Mesh } from './mesh.ts';
import type { Picture } from './picture.ts';
import type { Presenter } from './presenter.ts';
import type { RunFacts } from './report.ts';
import type { StoryParts } from './story.ts';

export interface Watch {
  readonly mesh: Mesh;
  readonly crew: Crew;
  readonly clock: Clock;
  readonly presenter: Presenter;
  readonly signal: AbortSignal;
}

const intervalMs = 1000;

/** How much longer than asked for something is waited for that should be seen. */
const patienceMs = 20_000;

/**
 * Shows the mesh every second, under a sentence, for so long and until something is seen, and resolves with what was seen
 * last; it may be that it was not seen. Rejects when the signal is aborted.
 */
export function watchMesh({ mesh, crew, clock, presenter, signal }: Watch): StoryParts['show'] {
  const startedMs = clock.monotonic();
  const notes: string[] = [];
  crew.failure.catch((error: unknown) => notes.push(messageOf(error)));
  return async (now, forMs, isSeen = () => true) => {
    const untilMs = clock.monotonic() + forMs;
    for (;;) {
      const look = await mesh.look();
      signal.throwIfAborted();
      const elapsedMs = clock.monotonic() - startedMs;
      presenter.show(pictureOf(look, mesh, { nowMs: clock.now(), elapsedMs, now, notes }));
      const leftMs = untilMs - clock.monotonic();
      if (leftMs <= 0 && (isSeen(look) || leftMs < -patienceMs)) return look;
      await clock.sleep(leftMs > 0 ? Math.min(intervalMs, leftMs) : intervalMs, signal);
    }
  };
}

function pictureOf(look: Look, mesh: Mesh, moment: Pick<Picture, 'nowMs' | 'elapsedMs' | 'now' | 'notes'>): Picture {
  return { ...look, ...moment, where: mesh.where, hints: mesh.hints() };
}

/** What a last look has shown. Throws `FailureError` when a sidecar did not answer. */
export function factsOf({ pods, clients, wire }: Look): Pick<RunFacts, 'sidecars' | 'web' | 'legacy' | 'wire'> {
  const sidecars = pods.flatMap(({ name, sidecar }) => {
    if (sidecar === undefined) return [];
    if (sidecar.facts === undefined) throw new FailureError(`The metrics of the sidecar of ${name} cannot be read`);
    return [sidecar.facts];
  });
  const { web, legacy } = clients;
  if (web === undefined || legacy === undefined) throw new TypeError('web and legacy are started with the mesh');
  return { sidecars, web, legacy, wire };
}
