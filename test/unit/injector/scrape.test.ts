import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadAgentSettings } from '../../../src/config.ts';
import { injectPod } from '../../../src/injector/inject.ts';
import { applyTo } from '../../../src/injector/patch.ts';
import type { InjectionSettings } from '../../../src/injector/settings.ts';
import { readInjectionSettings } from '../../../src/injector/settings.ts';

const base = readInjectionSettings({ path: 'injection.yaml', text: 'image: remora:1\nmeshNetworks: [10.0.0.0/8]\n' });

interface Injected {
  readonly annotations: Readonly<Record<string, string>>;
  /** What the sidecar reads of its arguments. */
  readonly appMetrics: unknown;
  readonly warnings: readonly string[];
}

function inject(
  annotations: Record<string, string>,
  settings: Partial<InjectionSettings> = {},
  ports: readonly object[] = [],
): Injected {
  const pod = { metadata: { annotations: { ...annotations } }, spec: { containers: [{ name: 'web', ports }] } };
  const context = { namespace: 'shop', workloadName: 'web', isJob: false };
  const injection = injectPod(pod, context, { ...base, ...settings });
  if (injection.kind !== 'injected') throw new Error(JSON.stringify(injection));
  applyTo(pod, injection.patch);
  const { initContainers } = pod.spec as unknown as { initContainers: { args: string[] }[] };
  const args = initContainers[1]?.args.slice(1) ?? [];
  const read = loadAgentSettings({ args, env: {}, nodeFlags: [], uid: 1337, gid: 1337, readFile: () => '' });
  return { annotations: pod.metadata.annotations, appMetrics: read.settings.appMetrics, warnings: injection.warnings };
}

const prometheus = (values: Record<string, string>) =>
  Object.fromEntries(
    Object.entries({ scrape: 'true', ...values }).map(([name, value]) => [`prometheus.io/${name}`, value]),
  );
const ofSidecar = prometheus({ port: '15020', path: '/metrics' });
const port = { containerPort: 8080 };

describe("The metrics of a pod's application", () => {
  it.each<[string, Record<string, string>, readonly object[], { port: number; path: string }]>([
    ['a port', { port: '9102' }, [], { port: 9102, path: '/metrics' }],
    [
      'a port and a path',
      { port: '9102', path: '/actuator/prometheus' },
      [port],
      { port: 9102, path: '/actuator/prometheus' },
    ],
    ['a path without its slash', { port: '80', path: 'm?a=b' }, [], { port: 80, path: '/m?a=b' }],
    ['an empty path and scheme', { port: '80', path: '', scheme: '' }, [], { port: 80, path: '/metrics' }],
    ['the scheme http', { port: '80', scheme: 'http' }, [], { port: 80, path: '/metrics' }],
    ['no port, and one of the container', {}, [port], { port: 8080, path: '/metrics' }],
    ['no port, and one of TCP', {}, [port, { containerPort: 53, protocol: 'UDP' }], { port: 8080, path: '/metrics' }],
  ])('go through the sidecar where the annotations name %s', (_what, values, ports, appMetrics) => {
    const pod = inject(prometheus(values), {}, ports);
    expect(pod).toMatchObject({ appMetrics, annotations: ofSidecar, warnings: [] });
  });

  it.each<[string, Record<string, string>, readonly object[], string]>([
    ['HTTPS', { port: '80', scheme: 'https' }, [], 'their scheme is not http'],
    ['parameters', { port: '80', param_module: 'x' }, [], 'they have parameters'],
    ['no port, and none of a container', {}, [], 'they name no port'],
    ['no port, and two of containers', {}, [port, { containerPort: 8081 }], 'they name no port'],
    ['what is no port', { port: 'http' }, [port], 'they name no port'],
    ['a port of the sidecar', { port: '15021' }, [], "they name a port of the sidecar's own"],
    ['a path that no URL has', { port: '80', path: '/$(HOME)' }, [], 'their path is not of a URL'],
  ])('are left where they are with a warning where the annotations name %s', (_what, values, ports, why) => {
    const given = prometheus(values);
    const pod = inject(given, {}, ports);
    expect(pod.annotations).toMatchObject(given);
    expect(Object.keys(pod.annotations).filter((name) => name.startsWith('prometheus.io/'))).toEqual(
      Object.keys(given),
    );
    expect(pod.appMetrics).toBeUndefined();
    expect(pod.warnings).toEqual([expect.stringContaining(`Its prometheus.io annotations stay (${why}): `)]);
  });

  const given = prometheus({ port: '9102' });
  const apart = { appMetrics: undefined, annotations: given };
  const merged = { appMetrics: { port: 9102, path: '/metrics' }, annotations: ofSidecar };
  const annotated = (value: string) => ({ ...given, 'prometheus.istio.io/merge-metrics': value });

  it('are left where they are when the operator or the pod says so, and the pod has the last word', () => {
    expect(inject(given, { mergeMetrics: false })).toMatchObject(apart);
    expect(inject(annotated('false'))).toMatchObject(apart);
    expect(inject(annotated('true'), { mergeMetrics: false })).toMatchObject(merged);
    expect(inject(annotated('true'))).toMatchObject(merged);
    expect(() => inject(annotated('no'))).toThrow('expected true or false');
  });

  it('are none where the pod wants no scrape, and where the annotations lead to a sidecar already', () => {
    const none = inject(prometheus({ scrape: 'false', port: '9102' }));
    expect(none).toMatchObject({ appMetrics: undefined, warnings: [] });
    expect(none.annotations['prometheus.io/port']).toBe('9102');
    expect(inject({})).toMatchObject({ appMetrics: undefined, annotations: ofSidecar, warnings: [] });
    const before = prometheus({ port: '15020', path: '/stats/prometheus' });
    expect(inject(before)).toMatchObject({ appMetrics: undefined, annotations: ofSidecar, warnings: [] });
  });

  it('are never named so that the sidecar does not start', () => {
    const text = fc.string({ unit: 'binary', maxLength: 12 });
    fc.assert(
      fc.property(text, text, fc.constantFrom('', 'http', 'https'), (portText, path, scheme) => {
        expect(() => inject(prometheus({ port: portText, path, scheme }))).not.toThrow();
      }),
    );
    fc.assert(
      fc.property(fc.nat({ max: 70_000 }), text, (number, path) => {
        expect(() => inject(prometheus({ port: String(number), path }))).not.toThrow();
      }),
    );
  });
});
