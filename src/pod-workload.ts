import * as v from 'valibot';

/** What made a pod. */
export interface PodWorkload {
  /** As a person knows it: that of the Deployment and not of its ReplicaSet, of the CronJob and not of its Job. */
  readonly name: string;
  readonly isJob: boolean;
}

const optional = <Schema extends v.GenericSchema>(schema: Schema) =>
  v.nullish(v.fallback(v.nullish(schema), undefined));

/** Whatever is not as expected counts as absent: a name for logs is no reason to refuse a pod. */
const metadata = v.object({
  name: optional(v.string()),
  generateName: optional(v.string()),
  labels: optional(v.record(v.string(), v.unknown())),
  ownerReferences: optional(
    v.array(v.object({ kind: v.string(), name: v.string(), controller: optional(v.boolean()) })),
  ),
});
const pod = v.object({ metadata });
type Metadata = v.InferOutput<typeof metadata>;

/** Kubernetes names no object longer than this. */
const longestName = 253;

/** The workload of a pod, from the controller among its owners; otherwise the pod itself. `value` may be anything. */
export function workloadOf(value: unknown): PodWorkload {
  const parsed = v.safeParse(pod, value);
  if (!parsed.success) return { name: '', isJob: false };
  const own = parsed.output.metadata;
  const controller = own.ownerReferences?.find((owner) => owner.controller === true);
  // The owner of a static pod is the node that runs it.
  if (controller === undefined || controller.kind === 'Node') return { name: ownName(own), isJob: false };
  return { name: nameOf(controller, own).slice(0, longestName), isJob: controller.kind === 'Job' };
}

function nameOf({ kind, name }: { kind: string; name: string }, { labels }: Metadata): string {
  switch (kind) {
    case 'ReplicaSet':
      return without(name, labels?.['pod-template-hash']);
    case 'Job':
      // A CronJob appends the minute of the schedule, and no label of the pod tells: batch/v1's own form of a name.
      return name.replace(/(?<=.)-\d{8}$/, '');
    default:
      return name;
  }
}

function without(name: string, hash: unknown): string {
  return typeof hash === 'string' && hash !== '' && name.endsWith(`-${hash}`) ? name.slice(0, -hash.length - 1) : name;
}

function ownName({ name, generateName }: Metadata): string {
  const own = name ?? '';
  return (own === '' ? (generateName ?? '').replace(/-$/, '') : own).slice(0, longestName);
}
