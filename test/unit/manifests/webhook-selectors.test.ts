import { describe, expect, it } from 'vitest';
import { injectPod } from '../../../src/injector/inject.ts';
import { readInjectionSettings } from '../../../src/injector/settings.ts';
import type { RenderedName } from '../../support/manifests.ts';
import { installedFile, objectOf, renderedObjects } from '../../support/manifests.ts';

/*
 * Which pods the API server asks about: it compares the selectors of each entry of the webhook with the labels of the
 * namespace and of the pod. Here by the rules of Kubernetes' LabelSelector.
 */

type Labels = Readonly<Record<string, string>>;
interface Requirement {
  readonly key: string;
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  readonly values?: readonly string[];
}
interface Selector {
  readonly matchLabels?: Labels;
  readonly matchExpressions?: readonly Requirement[];
}

function matches(selector: Selector, labels: Labels): boolean {
  const exact = Object.entries(selector.matchLabels ?? {}).every(([key, value]) => labels[key] === value);
  return exact && (selector.matchExpressions ?? []).every((requirement) => meets(labels[requirement.key], requirement));
}

function meets(value: string | undefined, { operator, values = [] }: Requirement): boolean {
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value);
    case 'NotIn':
      // Also what has no such label.
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
    default:
      return operator satisfies never;
  }
}

interface Entry {
  readonly name: string;
  readonly namespaceSelector: Selector;
  readonly objectSelector: Selector;
}

function entriesOf(name: RenderedName): readonly Entry[] {
  return objectOf(renderedObjects(name), 'MutatingWebhookConfiguration').webhooks;
}

const own = 'remora.dev/inject';
const istio = 'sidecar.istio.io/inject';

function asked(entries: readonly Entry[], namespace: string, ofNamespace: Labels, ofPod: Labels): readonly string[] {
  const labels = { 'kubernetes.io/metadata.name': namespace, ...ofNamespace };
  return entries
    .filter(
      ({ namespaceSelector, objectSelector }) => matches(namespaceSelector, labels) && matches(objectSelector, ofPod),
    )
    .map(({ name }) => name.split('.', 1)[0] ?? '');
}

const settings = readInjectionSettings(installedFile('injection.yaml'));
const label = (key: string, value: string | undefined): Labels => (value === undefined ? {} : { [key]: value });
const values = [undefined, 'true', 'enabled', 'false', 'disabled', 'yes', ''];

describe('The webhook', () => {
  const table: [ofNamespace: string | undefined, ofPod: string | undefined, entry: readonly string[]][] = [
    [undefined, undefined, []],
    [undefined, 'true', ['pod']],
    [undefined, 'enabled', ['pod']],
    [undefined, 'false', []],
    // What is no answer is asked about, so that somebody is told.
    [undefined, 'yes', ['pod']],
    [undefined, '', ['pod']],
    ['false', 'yes', ['pod']],
    ['true', undefined, ['namespace']],
    ['enabled', undefined, ['namespace']],
    ['true', 'true', ['namespace']],
    ['true', 'false', []],
    ['true', 'disabled', []],
    ['true', 'yes', ['namespace']],
    ['false', undefined, []],
    ['false', 'true', ['pod']],
    ['disabled', 'enabled', ['pod']],
    ['yes', undefined, []],
    ['yes', 'true', ['pod']],
  ];
  it.each(table)(
    'with the label %s on the namespace and %s on the pod is asked by the entry %j',
    (ofNamespace, ofPod, entry) => {
      expect(asked(entriesOf('install'), 'shop', label(own, ofNamespace), label(own, ofPod))).toEqual(entry);
    },
  );

  it('W10: is asked about no pod of the cluster and of its own namespace, whatever their labels say', () => {
    for (const namespace of settings.systemNamespaces) {
      for (const ofNamespace of values)
        for (const ofPod of values) {
          const labels = { ...label(own, ofPod), [istio]: 'true' };
          expect(asked(entriesOf('istio-label'), namespace, label(own, ofNamespace), labels)).toEqual([]);
        }
    }
  });

  it.each<RenderedName>(['install', 'istio-label'])(
    'of %s is asked once at most, and always where the injector would inject',
    (name) => {
      for (const ofNamespace of values) {
        for (const ofPod of values) {
          for (const ofIstio of values) {
            const labels = { ...label(own, ofPod), ...label(istio, ofIstio) };
            const entries = asked(entriesOf(name), 'shop', label(own, ofNamespace), labels);
            expect(entries.length, JSON.stringify([ofNamespace, labels])).toBeLessThanOrEqual(1);
            if (isWanted(ofNamespace, ofPod, name === 'install' ? undefined : ofIstio, labels))
              expect(entries, JSON.stringify([ofNamespace, labels])).toHaveLength(1);
          }
        }
      }
    },
  );

  it("leaves pods with Istio's label alone, until the component asks about them", () => {
    const pod = { [istio]: 'true' };
    expect(asked(entriesOf('install'), 'shop', {}, pod)).toEqual([]);
    expect(asked(entriesOf('istio-label'), 'shop', {}, pod)).toEqual(['istio-label']);
    expect(asked(entriesOf('istio-label'), 'shop', { [own]: 'false' }, pod)).toEqual(['istio-label']);
    expect(asked(entriesOf('istio-label'), 'shop', {}, { ...pod, [own]: 'false' })).toEqual([]);
    expect(asked(entriesOf('istio-label'), 'shop', {}, { ...pod, [own]: 'true' })).toEqual(['pod']);
    expect(asked(entriesOf('istio-label'), 'shop', { [own]: 'true' }, pod)).toEqual(['namespace']);
  });
});

/** Somebody has said yes, and the injector, were it asked, would put the sidecar in. */
function isWanted(
  ofNamespace: string | undefined,
  ofPod: string | undefined,
  ofIstio: string | undefined,
  labels: Labels,
) {
  const isYes = (value: string | undefined) => value === 'true' || value === 'enabled';
  if (!isYes(ofNamespace) && !isYes(ofPod) && !isYes(ofIstio)) return false;
  const pod = { metadata: { labels }, spec: { containers: [{ name: 'web', image: 'web:1' }] } };
  const context = { namespace: 'shop', workloadName: 'web', isJob: false };
  return injectPod(pod, context, settings).kind === 'injected';
}
