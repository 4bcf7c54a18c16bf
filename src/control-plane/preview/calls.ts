import type { Clock } from '../../clock.ts';
import { timestamp } from '../../clock.ts';
import { maxRequestBytes } from '../../control-api.ts';
import type { SelectionSettings } from '../policy/select.ts';
import { createSelection } from '../policy/select.ts';
import { sendJson } from '../replies.ts';
import { readBody } from '../request-body.ts';
import type { Route } from '../router.ts';
import type { StrictPreview } from './api.ts';
import { maxPodsNotKnown, maxPreviewReplyBytes, previewPaths, strictPreviewRequest } from './api.ts';
import type { AllCallers, KnownCallersParts } from './known-callers.ts';
import { allCallers } from './known-callers.ts';
import { previewWorkload } from './strict-preview.ts';

export interface PreviewParts extends KnownCallersParts {
  readonly clock: Clock;
}

/** The calls of the admin API about what a change would break. */
export function previewCalls(parts: PreviewParts, settings: SelectionSettings): ReadonlyMap<string, Route> {
  return new Map<string, Route>([
    [
      previewPaths.strict,
      {
        method: 'POST',
        async handle({ request, response }) {
          const { namespace } = await readBody(request, strictPreviewRequest, { bytes: maxRequestBytes });
          sendJson(response, await strictPreviewOf(parts, settings, namespace), { maxBytes: maxPreviewReplyBytes });
        },
      },
    ],
  ]);
}

/** Streams and certificates go on in between. */
const workloadsInOneGo = 20;

async function strictPreviewOf(
  parts: PreviewParts,
  settings: SelectionSettings,
  namespace: string | undefined,
): Promise<StrictPreview> {
  const { clock, store } = parts;
  const selection = createSelection(store.current(), settings);
  const { known, notKnown } = allCallers(parts, namespace);
  const workloads: StrictPreview['workloads'] = [];
  for (const sidecars of Map.groupBy(known, (one) => `${one.namespace}/${one.workload}`).values()) {
    workloads.push(previewWorkload(sidecars, selection));
    if (workloads.length % workloadsInOneGo === 0) await clock.sleep(0);
  }
  return { now: timestamp(clock.now()), workloads, notKnown: boundedNotKnown(notKnown) };
}

function boundedNotKnown(notKnown: AllCallers['notKnown']): StrictPreview['notKnown'] {
  return {
    pods: notKnown.slice(0, maxPodsNotKnown),
    more: Math.max(0, notKnown.length - maxPodsNotKnown),
  };
}
