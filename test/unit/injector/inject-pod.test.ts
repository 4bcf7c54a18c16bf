import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Operation as RfcOperation } from 'rfc6902';
import { applyPatch } from 'rfc6902';
import { describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { parseAppProbes } from '../../../src/app-probes.ts';
import type { Injection, PodContext } from '../../../src/injector/inject.ts';
import { injectPod } from '../../../src/injector/inject.ts';
import type { InjectionSettings } from '../../../src/injector/settings.ts';
import { readInjectionSettings } from '../../../src/injector/settings.ts';

const golden = resolve(import.meta.dirname, '../../golden/pods');

const base = readInjectionSettings({
  path: 'injection.yaml',
  text: 'image: registry.example.com/remora:0.1.0\nmeshNetworks: [10.0.0.0/8, "fd00::/8"]\n',
});
const shop: PodContext = { namespace: 'shop', workloadName: 'web', isJob: false };

function inject(pod: unknown, settings: Partial<InjectionSettings> = {}, context: Partial<PodContext> = {}): Injection {
  return injectPod(pod, { ...shop, ...context }, { ...base, ...settings });
}

const container = { name: 'web', image: 'web:1' };
const podWith = (spec: object, metadata: object = {}) => ({ metadata, spec: { containers: [container], ...spec } });
const annotated = (annotations: Record<string, string>) => podWith({}, { annotations });

function problemsOf(injection: Injection): readonly string[] {
  return injection.kind === 'refused' ? injection.problems : [];
}

// biome-ignore lint/suspicious/noExplicitAny: a test looks into any place of the pod
function injected(pod: unknown, injection: Injection): any {
  if (injection.kind !== 'injected') throw new Error(`Expected an injected pod, found ${JSON.stringify(injection)}`);
  const copy = structuredClone(pod);
  const errors = applyPatch(copy, structuredClone(injection.patch) as RfcOperation[]).filter((error) => error !== null);
  expect(errors).toEqual([]);
  return copy;
}

describe('The patch of a pod', () => {
  const cases: [name: string, file: string, settings: Partial<InjectionSettings>][] = [
    ['bare', 'bare', {}],
    ['web', 'web', {}],
    ['web-classic', 'web', { sidecarMode: 'classic' }],
    ['annotated', 'annotated', { exclusionNamespaces: ['shop'] }],
    ['native-neighbour', 'native-neighbour', {}],
  ];
  it.each(cases)('is that of the golden file %s', async (name, file, settings) => {
    const pod: unknown = parse(readFileSync(join(golden, `${file}.yaml`), 'utf8'));
    const injection = inject(pod, settings);
    const result = injected(pod, injection);
    const text = stringify({ injection, pod: result }, { lineWidth: 0, aliasDuplicateObjects: false });
    await expect(text).toMatchFileSnapshot(join(golden, `${name}.injected.yaml`));
  });

  it('A10: leaves it to the kubelet to be slow: a pod is unready after three probes in 30 s, and ready after one', () => {
    const pod = podWith({});
    const { initContainers } = injected(pod, inject(pod)).spec;
    const { readinessProbe } = initContainers.find(({ name }: { name: string }) => name === 'remora');
    expect(readinessProbe).toMatchObject({ periodSeconds: 10, failureThreshold: 3 });
    expect(readinessProbe).not.toHaveProperty('successThreshold');
  });

  it('is the same for the same pod, and leaves the pod as it was', () => {
    const pod = podWith({ volumes: [{ name: 'data' }] }, { annotations: { a: 'b' } });
    const before = structuredClone(pod);
    expect(inject(pod)).toEqual(inject(pod));
    expect(pod).toEqual(before);
  });

  it('W3: makes the parents that a pod lacks, also where they are null', () => {
    for (const pod of [
      { spec: { containers: [container] } },
      { metadata: null, spec: { containers: [container], initContainers: null, volumes: null } },
      { metadata: { annotations: null, labels: null }, spec: { containers: [container] } },
    ]) {
      const { metadata, spec } = injected(pod, inject(pod));
      expect(metadata.annotations['remora.dev/injected']).toBeDefined();
      expect(spec.initContainers).toHaveLength(2);
      expect(spec.volumes).toHaveLength(2);
    }
  });

  it('W4: changes nothing the second time', () => {
    const pod = podWith({ securityContext: { runAsUser: 1000 } });
    for (const sidecarMode of ['native', 'classic'] as const) {
      const once = injected(pod, inject(pod, { sidecarMode }));
      expect(inject(once, { sidecarMode })).toMatchObject({ kind: 'skipped', reason: 'already_injected' });
    }
  });

  it('W4: takes the mark alone for nothing: the container must be there too', () => {
    const pod = annotated({ 'remora.dev/injected': '9.9.9' });
    const once = injected(pod, inject(pod));
    expect(once.metadata.annotations['remora.dev/injected']).not.toBe('9.9.9');
  });

  it('says in the container what its own deadline is, below the grace of the pod', () => {
    const argsOf = (pod: unknown, settings: Partial<InjectionSettings> = {}) => {
      const { initContainers, containers } = injected(pod, inject(pod, settings)).spec;
      return [...initContainers, ...containers].find(({ name }) => name === 'remora').args as string[];
    };
    expect(argsOf(podWith({}))).toEqual(expect.arrayContaining(['--drain-delay=0s', '--drain-deadline=28s']));
    expect(argsOf(podWith({ terminationGracePeriodSeconds: 0 }))).toContain('--drain-deadline=1s');
    const classic = argsOf(podWith({ terminationGracePeriodSeconds: 60 }), { sidecarMode: 'classic' });
    expect(classic).toEqual(expect.arrayContaining(['--drain-delay=5s', '--drain-deadline=53s']));
  });

  it('says no deadline that the sidecar would refuse, however long the grace of the pod is', () => {
    const pod = podWith({ terminationGracePeriodSeconds: 3 * 86_400 });
    expect(injected(pod, inject(pod)).spec.initContainers[1].args).toContain('--drain-deadline=86400s');
  });

  it('warns of what would keep the sidecar from starting or from stopping well', () => {
    for (const [pod, warning] of [
      [podWith({ dnsPolicy: 'Default' }), 'dnsPolicy is Default'],
      [annotated({ 'remora.dev/drain-delay': '30s' }), 'grace of 30 s'],
    ] as const) {
      expect(inject(pod)).toMatchObject({ warnings: [expect.stringContaining(warning)] });
    }
    expect(inject(podWith({ dnsPolicy: 'Default' }), { controlPlane: 'https://[fd00::1]:15012' })).toMatchObject({
      warnings: [],
    });
  });

  it("keeps the application's token for the API server out of both containers", () => {
    const { initContainers, volumes } = injected(podWith({}), inject(podWith({}))).spec;
    expect(volumes).toContainEqual({ name: 'remora-no-api-token', emptyDir: {} });
    for (const { volumeMounts } of initContainers)
      expect(volumeMounts).toContainEqual(
        expect.objectContaining({ mountPath: '/var/run/secrets/kubernetes.io/serviceaccount', readOnly: true }),
      );
  });

  it('limits every container where the operator limits CPU', () => {
    for (const [cpuLimit, request] of [
      ['500m', '10m'],
      ['5m', '5m'],
    ]) {
      const pod = podWith({});
      const [init] = injected(pod, inject(pod, { cpuLimit, cpuRequest: '1m' })).spec.initContainers;
      expect(init.resources).toMatchObject({ requests: { cpu: request }, limits: { cpu: cpuLimit } });
    }
  });

  it('leaves a workload without a usable name out, which the sidecar would refuse', () => {
    for (const workloadName of ['', 'No Name']) {
      const pod = podWith({});
      const [, sidecar] = injected(pod, inject(pod, {}, { workloadName })).spec.initContainers;
      expect(sidecar.args.join(' ')).not.toContain('--workload-name');
    }
  });

  it('gives the operator’s settings of the sidecar, and the pod’s own above them', () => {
    const settings = { agent: { logLevel: 'warn', outboundPolicy: 'REGISTRY_ONLY' } } as const;
    const pod = annotated({ 'remora.dev/log-level': 'debug' });
    const [, sidecar] = injected(pod, inject(pod, settings)).spec.initContainers;
    expect(sidecar.args).toEqual(expect.arrayContaining(['--log-level=debug', '--outbound-policy=REGISTRY_ONLY']));
  });
});

describe('Probes', () => {
  const probesOf = (pod: unknown) => {
    const [, sidecar] = injected(pod, inject(pod)).spec.initContainers;
    const text = sidecar.env.find(({ name }: { name: string }) => name === 'REMORA_APP_PROBES')?.value;
    const parsed = parseAppProbes(text ?? '{}');
    if (parsed.kind === 'problem') throw new Error(parsed.expected);
    return parsed.value;
  };

  it('of a port that the container does not name stay as they are', () => {
    const pod = podWith({ containers: [{ ...container, livenessProbe: { httpGet: { path: '/', port: 'nowhere' } } }] });
    const injection = inject(pod);
    expect(injected(pod, injection).spec.containers[0].livenessProbe.httpGet.port).toBe('nowhere');
    expect(injection).toMatchObject({ warnings: [expect.stringContaining("'nowhere'")] });
  });

  it.each([{ httpGet: { port: 15021 } }, { tcpSocket: { port: 15006 } }, { grpc: { port: 15008 } }])(
    'of a port of the sidecar stay as they are: %j',
    (probe) => {
      const pod = podWith({ containers: [{ ...container, readinessProbe: probe }] });
      const injection = inject(pod);
      expect(injected(pod, injection).spec.containers[0].readinessProbe).toEqual(probe);
      expect(injection).toMatchObject({ warnings: [expect.stringContaining("the sidecar's own port")] });
    },
  );

  it('with a port in quotes are taken as Kubernetes takes them', () => {
    const pod = podWith({ containers: [{ ...container, livenessProbe: { tcpSocket: { port: '8080' } } }] });
    expect(probesOf(pod)).toEqual({ '/app-health/web/livez': { tcpSocket: { port: 8080 }, timeoutSeconds: 1 } });
  });

  it('reach the sidecar as they are, where Kubernetes would replace a variable', () => {
    const httpGet = { path: '/$(REMORA_POD_NAME)?a=$$', port: 80 };
    const pod = podWith({ containers: [{ ...container, livenessProbe: { httpGet } }] });
    expect(probesOf(pod)).toMatchObject({ '/app-health/web/livez': { httpGet: { path: httpGet.path } } });
    expect(JSON.stringify(injected(pod, inject(pod)).spec.initContainers)).not.toContain('$');
  });

  it('are refused when they are too large as the sidecar gets them, every $ written as six characters', () => {
    const httpHeaders = ['a', 'b'].map((name) => ({ name, value: '$'.repeat(8000) }));
    const pod = podWith({ containers: [{ ...container, livenessProbe: { httpGet: { port: 8080, httpHeaders } } }] });
    expect(problemsOf(inject(pod))).toEqual(['The probes cannot go through the sidecar, expected at most 65536 bytes']);
  });

  it('stay as they are when an annotation says so', () => {
    const probe = { httpGet: { path: '/', port: 80 } };
    const pod = podWith(
      { containers: [{ ...container, livenessProbe: probe }] },
      { annotations: { 'sidecar.istio.io/rewriteAppHTTPProbers': 'false' } },
    );
    expect(injected(pod, inject(pod)).spec.containers[0].livenessProbe).toEqual(probe);
    expect(inject(pod)).toMatchObject({ warnings: [expect.stringContaining('the kubelet is refused')] });
  });

  it('that the sidecar would not read are refused here, where somebody sees it', () => {
    const httpHeaders = [{ name: 'X', value: 'a\r\nHost: b' }];
    const pod = podWith({
      containers: [{ ...container, livenessProbe: { httpGet: { path: '/', port: 80, httpHeaders } } }],
    });
    expect(problemsOf(inject(pod))).toEqual([expect.stringContaining('cannot go through the sidecar')]);
  });
});

describe('A pod is left alone', () => {
  it('W7: on the network of its node, with the reason', () => {
    expect(inject(podWith({ hostNetwork: true }))).toMatchObject({
      kind: 'skipped',
      reason: 'host_network',
      why: expect.stringContaining('network of its node'),
    });
  });

  it('W10: in the namespaces of the cluster and of the control plane, whatever it looks like', () => {
    for (const namespace of ['kube-system', 'kube-public', 'kube-node-lease', 'remora-system']) {
      for (const pod of [podWith({}, { labels: { 'remora.dev/inject': 'true' } }), 'no pod', null]) {
        expect(inject(pod, {}, { namespace })).toMatchObject({ kind: 'skipped', reason: 'system_namespace' });
      }
    }
  });

  it.each([
    [{ labels: { 'remora.dev/inject': 'false' } }, 'opted_out'],
    [{ labels: { 'sidecar.istio.io/inject': 'false' } }, 'opted_out'],
    [{ annotations: { 'sidecar.istio.io/inject': 'false' } }, 'opted_out'],
    [{ labels: { 'sidecar.istio.io/inject': 'true' }, annotations: { 'sidecar.istio.io/inject': 'false' } }, undefined],
    [{ labels: { 'remora.dev/inject': 'disabled', 'sidecar.istio.io/inject': 'true' } }, 'opted_out'],
    [{ labels: { 'remora.dev/inject': 'true', 'sidecar.istio.io/inject': 'false' } }, undefined],
    [{ labels: { 'sidecar.istio.io/inject': 'true' }, annotations: { 'sidecar.istio.io/inject': 'false' } }, undefined],
  ])('by its label, or its annotation: %j', (metadata, reason) => {
    const injection = inject(podWith({}, metadata));
    expect(injection.kind === 'skipped' ? injection.reason : undefined).toBe(reason);
  });

  it('on another operating system', () => {
    expect(inject(podWith({ os: { name: 'windows' } }))).toMatchObject({ kind: 'skipped', reason: 'not_linux' });
    expect(inject(podWith({ os: { name: 'linux' } })).kind).toBe('injected');
    const byNode = { nodeSelector: { 'kubernetes.io/os': 'windows' } };
    expect(inject(podWith(byNode))).toMatchObject({ kind: 'skipped', reason: 'not_linux' });
  });
});

describe('A pod is refused', () => {
  it.each([
    ['a container of our name', { containers: [{ name: 'remora' }] }, 'a container remora already'],
    ['an init container of our name', { initContainers: [{ name: 'remora-init' }] }, 'a container remora-init already'],
    ['a volume of our name', { volumes: [{ name: 'remora-identity' }] }, 'a volume remora-identity already'],
    ['a port of ours', { containers: [{ ...container, ports: [{ containerPort: 15006 }] }] }, 'the port 15006'],
    [
      'a port of ours on the node',
      { containers: [{ ...container, ports: [{ containerPort: 80, hostPort: 15020 }] }] },
      'the port 15020',
    ],
    [
      'a port with our name',
      { containers: [{ ...container, ports: [{ name: 'remora-metrics', containerPort: 80 }] }] },
      'a port remora-metrics already',
    ],
    ['the port of the canary', { containers: [{ ...container, ports: [{ containerPort: 15002 }] }] }, '15002'],
    ['the sidecar of Istio', { containers: [container, { name: 'istio-proxy' }] }, 'istio-proxy of another mesh'],
    ['the sidecar of Linkerd', { initContainers: [{ name: 'linkerd-init' }] }, 'linkerd-init of another mesh'],
  ])('W5: with %s', (_, spec, problem) => {
    expect(problemsOf(inject(podWith(spec)))).toEqual([expect.stringContaining(problem)]);
  });

  it('W5: but not for a port of another protocol', () => {
    const ports = [{ containerPort: 15008, protocol: 'UDP' }];
    expect(inject(podWith({ containers: [{ ...container, ports }] })).kind).toBe('injected');
  });

  it.each([
    ['remora.dev/image', 'evil:1'],
    ['remora.dev/inject', 'false'],
    ['remora.dev/command', 'sh'],
    ['remora.dev/uid', '0'],
    ['remora.dev/privileged', 'true'],
    ['remora.dev/minimum-outbound', 'plaintext'],
    ['remora.dev/control-plane', 'https://evil.example.com'],
    ['remora.dev/loglevel', 'debug'],
    ['traffic.sidecar.istio.io/kubevirtInterfaces', 'net1'],
    ['traffic.sidecar.istio.io/excludeOutboundPorts', '*'],
    ['traffic.sidecar.istio.io/excludeOutboundPorts', '5432'],
    ['traffic.sidecar.istio.io/excludeInboundPorts', '8080'],
    ['traffic.sidecar.istio.io/includeInboundPorts', ''],
    ['traffic.sidecar.istio.io/includeOutboundIPRanges', '10.0.0.0/8'],
    ['sidecar.istio.io/proxyMemoryLimit', '1Ki'],
    ['sidecar.istio.io/proxyMemory', '900Gi'],
    ['sidecar.istio.io/proxyCPU', '-1'],
    ['sidecar.istio.io/proxyMemory', '512Mi'],
  ])('W6: for the annotation %s of %j, which a pod alone must not decide', (annotation, text) => {
    expect(problemsOf(inject(annotated({ [annotation]: text })))).toHaveLength(1);
  });

  it('W6: for a label of ours that is none, or that belongs among the annotations', () => {
    for (const [label, hint] of [
      ['remora.dev/injekt', 'did you mean remora.dev/inject?'],
      ['remora.dev/log-level', 'among the annotations'],
    ] as const) {
      expect(problemsOf(inject(podWith({}, { labels: { [label]: 'false' } })))).toEqual([
        expect.stringContaining(hint),
      ]);
    }
    expect(problemsOf(inject(annotated({ 'remora.dev/inject': 'false' })))).toEqual([
      'remora.dev/inject is an annotation here, expected it among the labels',
    ]);
  });

  it('W6: even where pods may leave the mesh, for leaving with everything', () => {
    for (const [annotation, text] of [
      ['excludeOutboundIPRanges', '10.0.0.0/8,0.0.0.0/0'],
      ['excludeOutboundIPRanges', '::/0'],
      ['excludeOutboundPorts', '1-65535'],
      ['excludeInboundPorts', '30000-65535,1-29999'],
      ['excludeOutboundIPRanges', '0.0.0.0/1,128.0.0.0/1'],
      ['excludeOutboundIPRanges', 'fc00::/7'],
      ['includeInboundPorts', ''],
      ['includeOutboundIPRanges', ' '],
    ]) {
      const pod = annotated({ [`traffic.sidecar.istio.io/${annotation}`]: text as string });
      for (const exclusionNamespaces of [['*'], ['shop']]) {
        expect(problemsOf(inject(pod, { exclusionNamespaces }))).toEqual([
          expect.stringContaining('remora.dev/inject'),
        ]);
      }
    }
  });

  it('W6: an image of Istio’s has no effect, and the pod’s owner is told', () => {
    const pod = annotated({ 'sidecar.istio.io/proxyImage': 'evil:1' });
    const injection = inject(pod);
    expect(JSON.stringify(injected(pod, injection).spec)).not.toContain('evil');
    expect(injection).toMatchObject({ warnings: [expect.stringContaining('has no effect')] });
  });

  it('W8: with a container that runs as the sidecar’s user, by its own word or the pod’s', () => {
    const ours = { runAsUser: 1337 };
    for (const spec of [
      { containers: [{ ...container, securityContext: ours }] },
      { securityContext: ours },
      { initContainers: [{ name: 'setup', securityContext: ours }] },
    ]) {
      expect(problemsOf(inject(podWith(spec)))).toEqual([expect.stringContaining('runs as user 1337')]);
    }
    const overridden = { securityContext: ours, containers: [{ ...container, securityContext: { runAsUser: 1000 } }] };
    expect(inject(podWith(overridden)).kind).toBe('injected');
  });

  it('W8: or warned of, where it can go around the sidecar', () => {
    const spec = (securityContext: object) => ({ containers: [{ ...container, securityContext }] });
    for (const [pod, warning] of [
      [spec({ privileged: true }), 'is privileged'],
      [spec({ capabilities: { add: ['NET_ADMIN', 'CHOWN'] } }), 'adds NET_ADMIN:'],
      [spec({ capabilities: { add: ['cap_setuid'] } }), 'adds SETUID:'],
      [{ shareProcessNamespace: true }, 'shares its process namespace'],
      [{ hostPID: true }, 'sees the processes of its node'],
    ] as const) {
      expect(inject(podWith(pod))).toMatchObject({ warnings: [expect.stringContaining(warning)] });
    }
  });

  it.each(['x'.repeat(262_144), '８０８０', '{"a":1}', '15001-15000', '-1', '99999', '0-65535', '80;rm', '\u202e80'])(
    'W9: for ports such as %.20j, in one short sentence',
    (text) => {
      const pod = annotated({ 'traffic.sidecar.istio.io/excludeOutboundPorts': text });
      const problems = problemsOf(inject(pod, { exclusionNamespaces: ['*'] }));
      expect(problems).toHaveLength(1);
      expect(problems[0]).toMatch(/^The annotation \S+ is '.{0,61}', expected [^\p{Cc}\p{Cf}]+$/u);
    },
  );

  it('with too little memory for a classic sidecar and its start hook', () => {
    const pod = annotated({ 'sidecar.istio.io/proxyMemoryLimit': '96Mi' });
    expect(inject(pod).kind).toBe('injected');
    expect(problemsOf(inject(pod, { sidecarMode: 'classic' }))).toEqual([expect.stringContaining('128Mi')]);
  });

  it('for a label that is neither yes nor no', () => {
    expect(problemsOf(inject(podWith({}, { labels: { 'remora.dev/inject': 'flase' } })))).toEqual([
      "The label remora.dev/inject is 'flase', expected true or false",
    ]);
  });

  it('W16: when it is a Job beside a classic sidecar, which would keep it for ever', () => {
    const job = { isJob: true };
    expect(problemsOf(inject(podWith({}), { sidecarMode: 'classic' }, job))).toHaveLength(1);
    expect(inject(podWith({}), { sidecarMode: 'native' }, job).kind).toBe('injected');
    for (const restartPolicy of ['Never', 'OnFailure'])
      expect(problemsOf(inject(podWith({ restartPolicy }), { sidecarMode: 'classic' }))).toHaveLength(1);
    const native = annotated({ 'sidecar.istio.io/nativeSidecar': 'true' });
    expect(inject(native, { sidecarMode: 'classic' }, job).kind).toBe('injected');
  });

  it('W16: when an init container would be probed through a classic sidecar, which does not run yet', () => {
    const initContainers = [{ name: 'db', restartPolicy: 'Always', startupProbe: { tcpSocket: { port: 5432 } } }];
    expect(problemsOf(inject(podWith({ initContainers }), { sidecarMode: 'classic' }))).toEqual([
      'An init container has a probe or hook that would ask a classic sidecar before it runs, expected sidecarMode native',
    ]);
    expect(inject(podWith({ initContainers })).kind).toBe('injected');
  });

  it('with every problem at once', () => {
    const pod = podWith({ securityContext: { runAsUser: 1337 }, volumes: [{ name: 'remora-identity' }] });
    expect(problemsOf(inject(pod))).toHaveLength(2);
  });

  it.each([
    [null, 'The pod'],
    [{}, 'spec'],
    [{ spec: { containers: [] } }, 'spec.containers'],
    [{ spec: { containers: [{ name: 7 }] } }, 'spec.containers.0.name is 7, expected a string'],
    [{ spec: { containers: [container], hostNetwork: 'yes' } }, 'spec.hostNetwork is "yes", expected a boolean'],
    [podWith({}, { labels: { 'remora.dev/inject': false } }), 'metadata.labels.remora.dev/inject is false'],
  ])('when it has no shape of a pod: %j', (pod, problem) => {
    expect(problemsOf(inject(pod))[0]).toContain(problem);
  });
});

describe('The order of containers', () => {
  const podOfThree = podWith({ initContainers: [{ name: 'setup' }, { name: 'logs', restartPolicy: 'Always' }] });
  const names = (list: readonly { name: string }[]) => list.map(({ name }) => name);

  it('W16: a native sidecar comes before the pod’s own init containers, and its rules before it', () => {
    const { initContainers, containers } = injected(podOfThree, inject(podOfThree)).spec;
    expect(names(initContainers)).toEqual(['remora-init', 'remora', 'setup', 'logs']);
    expect(initContainers[1].restartPolicy).toBe('Always');
    expect(names(containers)).toEqual(['web']);
  });

  it('W16: a classic one comes first of the containers, and its rules after the pod’s own init containers', () => {
    const injection = inject(podOfThree, { sidecarMode: 'classic' });
    const { initContainers, containers } = injected(podOfThree, injection).spec;
    expect(names(initContainers)).toEqual(['setup', 'logs', 'remora-init']);
    expect(names(containers)).toEqual(['remora', 'web']);
    expect(injection).toMatchObject({ warnings: [expect.stringContaining('init containers run before')] });
  });

  it('W16: containers that were added for debugging stay as they are', () => {
    const ephemeralContainers = [{ name: 'debug', image: 'debug:1' }];
    const pod = podWith({ ephemeralContainers });
    expect(injected(pod, inject(pod)).spec.ephemeralContainers).toEqual(ephemeralContainers);
  });
});
