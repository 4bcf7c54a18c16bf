import type { Clock } from '../../clock.ts';
import { timestamp } from '../../clock.ts';
import { maxRequestBytes } from '../../control-api.ts';
import type { SelectionSettings } from '../policy/select.ts';
import { createSelection } from '../policy/select.ts';
import { Refusal } from '../refusals.ts';
import { sendJson } from '../replies.ts';
import { readBody } from '../request-body.ts';
import type { Route } from '../router.ts';
import { readTextInTurns } from '../store/yaml.ts';
import type { ChangedCaller, PolicyPreview, StrictPreview } from './api.ts';
import {
  maxPodsNotKnown,
  maxPreviewedBytes,
  maxPreviewReplyBytes,
  policyPreviewRequest,
  previewPaths,
  strictPreviewRequest,
} from './api.ts';
import type { AllCallers, KnownCallers, KnownCallersParts } from './known-callers.ts';
import { allCallers, nextTurn, sidecarsInOneTurn } from './known-callers.ts';
import { applied, isSamePolicy, namesOf, notInForce, policyChangeOf } from './policy-change.ts';
import { changeForCallers, joinedChanges } from './policy-preview.ts';
import type { PodPreview } from './strict-preview.ts';
import { podPreview, workloadPreview } from './strict-preview.ts';

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
    [
      previewPaths.policy,
      {
        method: 'POST',
        async handle({ request, response }) {
          const { text } = await readBody(request, policyPreviewRequest, { bytes: maxPreviewRequestBytes });
          sendJson(response, await policyPreviewOf(parts, settings, text), { maxBytes: maxPreviewReplyBytes });
        },
      },
    ],
  ]);
}

/** Within JSON a character of text takes up to six bytes; what people write takes one or two. */
const maxPreviewRequestBytes = 2 * maxPreviewedBytes;

async function strictPreviewOf(
  parts: PreviewParts,
  settings: SelectionSettings,
  namespace: string | undefined,
): Promise<StrictPreview> {
  const { clock, store } = parts;
  const objects = store.current();
  const selection = createSelection(objects, settings);
  // Of the same state of the registry, also when another one comes meanwhile.
  const { known, notKnown, unnamed } = await allCallers({ ...parts, store: { current: () => objects } }, namespace);
  const pods: PodPreview[] = [];
  for (const one of known) {
    pods.push(podPreview(one, selection.policyFor(one.namespace, one.pod)));
    if (pods.length % sidecarsInOneTurn === 0) await nextTurn();
  }
  const workloads: StrictPreview['workloads'] = [];
  for (const some of Map.groupBy(pods, ({ sidecar }) => `${sidecar.namespace}/${sidecar.workload}`).values()) {
    workloads.push(workloadPreview(some));
    await nextTurn();
  }
  return { now: timestamp(clock.now()), workloads, notKnown: boundedNotKnown(notKnown, unnamed) };
}

function boundedNotKnown(notKnown: AllCallers['notKnown'], unnamed: number): StrictPreview['notKnown'] {
  return {
    pods: notKnown.slice(0, maxPodsNotKnown).map(({ name: pod, why }) => ({ pod, why })),
    more: Math.max(0, notKnown.length - maxPodsNotKnown) + unnamed,
  };
}

async function policyPreviewOf(parts: PreviewParts, settings: SelectionSettings, text: string): Promise<PolicyPreview> {
  const { clock, store } = parts;
  const { broken, objects: read } = await readTextInTurns(text);
  const [first] = broken;
  if (first !== undefined) throw new Refusal('bad_request', `Line ${first.position.line}: ${first.why}`);
  const change = policyChangeOf(read.map(({ entry }) => entry));
  const objects = store.current();
  const next = applied(objects, change);
  const [before, after] = [createSelection(objects, settings), createSelection(next, settings)];
  const policiesOf = ({ namespace, pod }: Pick<KnownCallers, 'namespace' | 'pod'>) => {
    const [now, then] = [before.policyFor(namespace, pod), after.policyFor(namespace, pod)];
    return isSamePolicy(now, then) ? undefined : { now, then };
  };
  const { known, notKnown, unnamed } = await allCallers({ ...parts, store: { current: () => objects } }, undefined);
  const refused: ChangedCaller[] = [];
  const permitted: ChangedCaller[] = [];
  const concerned: KnownCallers[] = [];
  for (const sidecar of known) {
    const policies = policiesOf(sidecar);
    if (policies === undefined) continue;
    concerned.push(sidecar);
    const changes = changeForCallers(sidecar, policies.now, policies.then);
    refused.push(...changes.refused);
    permitted.push(...changes.permitted);
    await nextTurn();
  }
  return {
    now: timestamp(clock.now()),
    ...namesOf(objects, change),
    notInForce: notInForce(next, change, settings.rootNamespace),
    pods: concerned.length,
    callers: concerned.reduce((sum, { told }) => sum + told.callers.length, 0),
    refused: joinedChanges(refused),
    permitted: joinedChanges(permitted),
    further: concerned.flatMap(furtherOf),
    notKnown: boundedNotKnown(
      notKnown.filter((one) => policiesOf(one) !== undefined),
      unnamed,
    ),
  };
}

function furtherOf({ namespace, workload, told: { further } }: KnownCallers): PolicyPreview['further'] {
  return further.map(({ callers, lastAt }) => ({ namespace, workload, callers, lastAt }));
}
