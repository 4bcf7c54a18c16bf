import { workloadOf } from '../pod-workload.ts';
import type { PodContext } from './inject.ts';
import { pointer } from './patch.ts';

/** A pod or a pod template inside of an object. */
export interface PlacedPod {
  /** JSON pointer (RFC 6901) to what has the shape of a pod: `metadata` and `spec`. */
  readonly path: string;
  readonly pod: unknown;
  readonly context: PodContext;
  /** As a person calls it: `Deployment shop/web`. */
  readonly title: string;
  /** Labels and annotations for the injector that stand on the workload, where nobody looks: they belong on its template. */
  readonly misplaced: readonly string[];
}

interface WorkloadKind {
  readonly group: string;
  /** The members that lead from the object to its pod template. */
  readonly template: readonly string[];
}

const template = ['spec', 'template'];

/** Kinds of Kubernetes that hold pods; one of the same name in another group is somebody's own and is left alone. */
const workloadKinds: Readonly<Record<string, WorkloadKind>> = {
  Pod: { group: '', template: [] },
  ReplicationController: { group: '', template },
  Deployment: { group: 'apps', template },
  StatefulSet: { group: 'apps', template },
  DaemonSet: { group: 'apps', template },
  ReplicaSet: { group: 'apps', template },
  Job: { group: 'batch', template },
  CronJob: { group: 'batch', template: ['spec', 'jobTemplate', ...template] },
};

/** Lists may hold lists; more than this is a mistake. */
const mostListLevels = 8;

type Members = Readonly<Record<string, unknown>>;

/**
 * Where the pods of an object are, those of the items of lists included. `namespace` is for objects without one. `value`
 * may be anything; what is no workload of Kubernetes has no pods.
 */
export function podsIn(value: unknown, namespace: string): PlacedPod[] {
  return podsAt(value, { path: '', namespace, level: 0 });
}

interface Position {
  readonly path: string;
  readonly namespace: string;
  readonly level: number;
  /** The type of an item that has none itself: in a PodList as the API sends it. */
  readonly implied?: { readonly apiVersion: unknown; readonly kind: string };
}

function podsAt(value: unknown, position: Position): PlacedPod[] {
  const object = membersOf(value);
  if (object === undefined) return [];
  const { implied } = position;
  const kind = object.kind ?? implied?.kind;
  const apiVersion = object.apiVersion ?? implied?.apiVersion;
  if (typeof kind !== 'string' || typeof apiVersion !== 'string') return [];
  if (isList(kind, apiVersion)) return itemsOf(object.items, kind.slice(0, -'List'.length), apiVersion, position);
  const workload = Object.hasOwn(workloadKinds, kind) ? workloadKinds[kind] : undefined;
  return workload === undefined || workload.group !== groupOf(apiVersion)
    ? []
    : podOf(object, kind, workload.template, position);
}

function isList(kind: string, apiVersion: string): boolean {
  if (kind === 'List') return groupOf(apiVersion) === '';
  if (!kind.endsWith('List')) return false;
  const item = kind.slice(0, -'List'.length);
  return Object.hasOwn(workloadKinds, item) && workloadKinds[item]?.group === groupOf(apiVersion);
}

/** `apps` of `apps/v1`; the core group has no name. */
function groupOf(apiVersion: string): string {
  return apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : '';
}

function itemsOf(items: unknown, kind: string, apiVersion: string, { path, namespace, level }: Position): PlacedPod[] {
  if (!Array.isArray(items) || level >= mostListLevels) return [];
  const implied = kind === '' ? {} : { implied: { kind, apiVersion } };
  return items.flatMap((item, index) =>
    podsAt(item, { path: `${path}${pointer('items', index)}`, namespace, level: level + 1, ...implied }),
  );
}

function podOf(object: Members, kind: string, steps: readonly string[], position: Position): PlacedPod[] {
  const { namespace: own } = membersOf(object.metadata) ?? {};
  const namespace = typeof own === 'string' && own !== '' ? own : position.namespace;
  const { name, isJob } = workloadOf(object);
  return [
    {
      path: `${position.path}${pointer(...steps)}`,
      pod: steps.reduce<unknown>((value, step) => membersOf(value)?.[step], object),
      context: { namespace, workloadName: name, isJob: isJob || kind === 'Job' || kind === 'CronJob' },
      title: `${kind} ${namespace}/${ownName(object)}`,
      misplaced: steps.length === 0 ? [] : wordsForInjector(object),
    },
  ];
}

function wordsForInjector({ metadata }: Members): string[] {
  const { labels, annotations } = membersOf(metadata) ?? {};
  const names = [...Object.keys(membersOf(labels) ?? {}), ...Object.keys(membersOf(annotations) ?? {})];
  return names.filter((name) => /^(?:remora\.dev|(?:traffic\.)?sidecar\.istio\.io)\//.test(name));
}

/**
 * What an object is called that looks as if it made pods, and is none of Kubernetes' own kinds: a Rollout, a Knative Service. Undefined for others.
 */
export function foreignWorkload(value: unknown): string | undefined {
  const object = membersOf(value);
  const spec = membersOf(membersOf(membersOf(object?.spec)?.template)?.spec);
  if (object === undefined || !Array.isArray(spec?.containers)) return undefined;
  return `${typeof object.kind === 'string' ? object.kind : 'Object'} ${ownName(object)}`;
}

/** The name of the object itself; where the API server makes it, what it begins with. */
function ownName({ metadata }: Members): string {
  const { name, generateName } = membersOf(metadata) ?? {};
  if (typeof name === 'string' && name !== '') return name;
  return typeof generateName === 'string' && generateName !== '' ? `${generateName}…` : '(without a name)';
}

function membersOf(value: unknown): Members | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Members) : undefined;
}
