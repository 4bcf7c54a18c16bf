import * as v from 'valibot';
import { shown } from '../config/given.ts';

/** A field that Kubernetes calls optional: absent and null are the same there. */
const optional = <Schema extends v.GenericSchema>(schema: Schema) => v.nullish(schema);

const port = v.union([v.pipe(v.number(), v.integer()), v.string()]);

const httpGet = v.looseObject({
  path: optional(v.string()),
  port,
  host: optional(v.string()),
  scheme: optional(v.string()),
  httpHeaders: optional(v.array(v.looseObject({ name: v.string(), value: optional(v.string()) }))),
});

const tcpSocket = v.looseObject({ port, host: optional(v.string()) });
const grpc = v.looseObject({ port: v.pipe(v.number(), v.integer()), service: optional(v.string()) });

const probe = v.looseObject({
  httpGet: optional(httpGet),
  tcpSocket: optional(tcpSocket),
  grpc: optional(grpc),
  timeoutSeconds: optional(v.pipe(v.number(), v.integer())),
});

const hook = v.looseObject({ httpGet: optional(httpGet) });

const containerPort = v.looseObject({
  name: optional(v.string()),
  containerPort: optional(v.pipe(v.number(), v.integer())),
  hostPort: optional(v.pipe(v.number(), v.integer())),
  protocol: optional(v.string()),
});

const securityContext = v.looseObject({
  runAsUser: optional(v.number()),
  privileged: optional(v.boolean()),
  capabilities: optional(v.looseObject({ add: optional(v.array(v.string())) })),
});

const container = v.looseObject({
  name: v.string(),
  ports: optional(v.array(containerPort)),
  livenessProbe: optional(probe),
  readinessProbe: optional(probe),
  startupProbe: optional(probe),
  lifecycle: optional(v.looseObject({ postStart: optional(hook), preStop: optional(hook) })),
  securityContext: optional(securityContext),
});

const texts = v.record(v.string(), v.string());

/** What the injector reads of a pod; the rest passes through it unread. */
const pod = v.looseObject({
  metadata: optional(v.looseObject({ labels: optional(texts), annotations: optional(texts) })),
  spec: v.looseObject({
    containers: v.pipe(v.array(container), v.minLength(1)),
    initContainers: optional(v.array(container)),
    volumes: optional(v.array(v.looseObject({ name: v.string() }))),
    hostNetwork: optional(v.boolean()),
    hostPID: optional(v.boolean()),
    shareProcessNamespace: optional(v.boolean()),
    terminationGracePeriodSeconds: optional(v.pipe(v.number(), v.integer())),
    os: optional(v.looseObject({ name: v.string() })),
    nodeSelector: optional(texts),
    restartPolicy: optional(v.string()),
    dnsPolicy: optional(v.string()),
    securityContext: optional(v.looseObject({ runAsUser: optional(v.number()) })),
  }),
});

/** A pod, or the pod template of a workload, as far as the injector reads it (Kubernetes core/v1). */
export type Pod = v.InferOutput<typeof pod>;
export type Container = v.InferOutput<typeof container>;
export type Probe = v.InferOutput<typeof probe>;
export type HttpGet = v.InferOutput<typeof httpGet>;

export type ParsedPod =
  | { readonly kind: 'pod'; readonly pod: Pod }
  | { readonly kind: 'problems'; readonly problems: readonly string[] };

/** More than this many are never written by a person, and each costs a sentence. */
const mostProblems = 5;

/** Reads anything as a pod; what has another shape is named, one sentence each. */
export function parsePod(value: unknown): ParsedPod {
  const parsed = v.safeParse(pod, value);
  if (parsed.success) return { kind: 'pod', pod: parsed.output };
  const problems = parsed.issues.slice(0, mostProblems).map((issue) => {
    const place = v.getDotPath(issue) ?? 'The pod';
    return `${shown(place)} is ${shown(issue.received)}, expected ${wordsFor(issue)}`;
  });
  return { kind: 'problems', problems };
}

const words: Readonly<Record<string, string>> = {
  array: 'a list',
  integer: 'a whole number',
  min_length: 'at least one container',
  loose_object: 'a mapping',
  record: 'a mapping',
};

function wordsFor(issue: v.BaseIssue<unknown>): string {
  return words[issue.type] ?? (issue.type === 'union' ? 'a number or a name' : `a ${issue.type}`);
}

/** Annotations; a name that every object inherits is none of them. */
export function annotationsOf({ metadata }: Pod): Readonly<Record<string, string>> {
  return metadata?.annotations ?? {};
}

/** The value under a key of labels or annotations. */
export function textAt(from: Readonly<Record<string, string>> | null | undefined, key: string): string | undefined {
  return from !== null && from !== undefined && Object.hasOwn(from, key) ? from[key] : undefined;
}

/** Where a container stands, and the container. */
export interface PlacedContainer {
  readonly list: 'containers' | 'initContainers';
  readonly index: number;
  readonly container: Container;
}

/** Every container of the pod, init containers first. */
export function containersOf({ spec }: Pod): PlacedContainer[] {
  const placed = (list: PlacedContainer['list']) =>
    (spec[list] ?? []).map((container, index): PlacedContainer => ({ list, index, container }));
  return [...placed('initContainers'), ...placed('containers')];
}
