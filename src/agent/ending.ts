import type { DrainReply } from '../admin-api.ts';
import type { Drain } from '../lifecycle.ts';
import type { Log } from '../log.ts';
import type { Stopping } from '../stopping.ts';
import type { Page } from './page-server.ts';

/** What an application, or a hook of its pod, may ask for. */
export interface EndingParts {
  readonly log: Log;
  readonly stopping: Pick<Stopping, 'progress' | 'drain'>;
  readonly drain: Pick<Drain, 'size'>;
  /** As SIGTERM does; idempotent. */
  quit(): void;
}

export function shownDrain({ stopping, drain }: Pick<EndingParts, 'stopping' | 'drain'>): DrainReply['drain'] {
  return { ...stopping.progress(), open: drain.size };
}

/** Begins a drain that no end of the process follows, and answers what it did; the second time nothing. */
export function drainAction(parts: EndingParts): Page {
  const { stage, isStopping } = parts.stopping.progress();
  if (stage === 'serving') {
    parts.log.info('Drain asked for');
    void parts.stopping.drain();
  }
  const was = stage === 'serving' ? 'The sidecar begins to drain' : 'The sidecar is draining already';
  return accepted(isStopping ? stopsAlready : `${was}, and goes on running`, shownDrain(parts));
}

export function quitAction(parts: EndingParts): Page {
  const { isStopping } = parts.stopping.progress();
  parts.quit();
  return accepted(isStopping ? stopsAlready : 'The sidecar begins to stop', { ...shownDrain(parts), isStopping: true });
}

const stopsAlready = 'The sidecar is stopping already';

function accepted(did: string, drain: DrainReply['drain']): Page {
  return { status: 202, body: { did, drain } satisfies DrainReply };
}
