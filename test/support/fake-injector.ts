import type { Injection } from '../../src/injector/inject.ts';
import type { Operation } from '../../src/injector/patch.ts';
import { pointer } from '../../src/injector/patch.ts';

interface FakePod {
  readonly metadata?: { readonly annotations?: Readonly<Record<string, string>> | null } | null;
  readonly spec?: {
    readonly containers?: readonly {
      readonly livenessProbe?: { readonly tcpSocket?: object; readonly httpGet?: object };
    }[];
    readonly initContainers?: readonly object[] | null;
    readonly volumes?: readonly object[] | null;
  };
}

/** Changes a pod in every way in which the injector does, with values that are short, and ambiguous in YAML. */
export function fakeInjection(value: unknown): Injection {
  const pod = (value ?? {}) as FakePod;
  return { kind: 'injected', warnings: [], patch: [...probes(pod), ...annotations(pod), ...lists(pod)] };
}

function probes({ spec }: FakePod): Operation[] {
  return (spec?.containers ?? []).flatMap(({ livenessProbe }, index): Operation[] => {
    const path = (member: string) => `${pointer('spec', 'containers', index, 'livenessProbe', member)}`;
    if (livenessProbe?.httpGet !== undefined)
      return [{ op: 'replace', path: path('httpGet'), value: { path: '/app-health', port: 15020 } }];
    if (livenessProbe?.tcpSocket === undefined) return [];
    return [
      { op: 'remove', path: path('tcpSocket') },
      { op: 'add', path: path('httpGet'), value: { path: '/app-health', port: 15020 } },
    ];
  });
}

function annotations({ metadata }: FakePod): Operation[] {
  const value = { 'remora.dev/injected': '0.1.0', on: 'yes' };
  if (metadata === undefined || metadata === null)
    return [{ op: 'add', path: '/metadata', value: { annotations: value } }];
  if (metadata.annotations === undefined || metadata.annotations === null)
    return [{ op: 'add', path: '/metadata/annotations', value }];
  return Object.entries(value).map(([name, text]) => ({
    op: 'add',
    path: pointer('metadata', 'annotations', name),
    value: text,
  }));
}

const init = { name: 'remora-init', args: ['init', '--flag=1', '007'] };
const sidecar = { name: 'remora', env: [{ name: 'TEXT', value: '{"a":1}' }], securityContext: { capabilities: {} } };

function lists({ spec }: FakePod): Operation[] {
  const volume = { name: 'remora-identity', projected: { sources: [] } };
  const operations: Operation[] =
    spec?.initContainers === undefined || spec.initContainers === null
      ? [{ op: 'add', path: '/spec/initContainers', value: [init, sidecar] }]
      : [
          { op: 'add', path: '/spec/initContainers/0', value: init },
          { op: 'add', path: '/spec/initContainers/1', value: sidecar },
        ];
  if (spec?.volumes === undefined || spec.volumes === null)
    return [...operations, { op: 'add', path: '/spec/volumes', value: [volume] }];
  return [...operations, { op: 'add', path: '/spec/volumes/-', value: volume }];
}
