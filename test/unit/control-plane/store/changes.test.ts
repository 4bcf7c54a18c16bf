import { describe, expect, it } from 'vitest';
import { changesBetween } from '../../../../src/control-plane/store/changes.ts';
import { createChangesLog } from '../../../../src/control-plane/store/changes-log.ts';
import { captureLog } from '../../../support/captured-log.ts';
import { createFakeClock } from '../../../support/fake-clock.ts';
import type { PodParts } from '../../../support/registry-yaml.ts';
import { meshed, objectsOf, plain, pod, service, slice } from '../../../support/registry-yaml.ts';

const between = (before: readonly string[], after: readonly string[]) =>
  changesBetween(objectsOf(...before), objectsOf(...after));
const api = (more: Partial<PodParts> = {}) => pod({ name: 'api', ip: '10.0.0.1', ...more });
const named = (kind: string, name: string) => `apiVersion: v1\nkind: ${kind}\nmetadata: {name: ${name}}\n`;
const webOf = (selector: string, ip = '10.96.0.1', port = 80) =>
  service(`{clusterIP: ${ip}, selector: {app: ${selector}}, ports: [{port: ${port}}]}`);
const none = { kinds: [], servicesRemoved: [], servicesEmptied: [] };

describe('what is told of a change of the registry', () => {
  it('is nothing when nothing changed that leads anywhere', () => {
    expect(between([api(), plain()], [api({ metadata: 'annotations: {a: b}' }), plain()])).toEqual(none);
  });

  it('names what is new and what is gone, of every kind', () => {
    const all = [api(), plain(), slice('IPv4', '[]'), named('ServiceAccount', 'api'), named('Namespace', 'shop')];
    const names = [
      ['Service', ['shop/web (10.96.0.1)']],
      ['Pod', ['shop/api (10.0.0.1)']],
      ['EndpointSlice', ['shop/web-ipv4']],
      ['ServiceAccount', ['default/api']],
      ['Namespace', ['shop']],
    ] as const;
    const added = names.map(([kind, texts]) => ({ kind, added: texts, removed: [], changed: [] }));
    const removed = names.map(([kind, texts]) => ({ kind, added: [], removed: texts, changed: [] }));
    expect(between([], all)).toEqual({ ...none, kinds: added });
    expect(between(all, [])).toEqual({ ...none, kinds: removed, servicesRemoved: ['shop/web (10.96.0.1)'] });
  });

  it('tells how policy changed, with what is wrong with it', () => {
    const policy = (kind: string, spec: string, more = '') =>
      `apiVersion: security.istio.io/v1\nkind: ${kind}\nmetadata: {name: a${more}}\nspec: ${spec}\n`;
    const mode = (spec: string) => policy('PeerAuthentication', spec);
    const rules = (spec: string, more?: string) => policy('AuthorizationPolicy', spec, more);
    const changed = (before: string, after: string) => between([before], [after]).kinds.map((one) => one.changed);
    expect(changed(mode('{mtls: {mode: PERMISSIVE}}'), mode('{mtls: {mode: STRICT}}'))).toEqual([
      ['default/a: mode PERMISSIVE became STRICT'],
    ]);
    expect(
      changed(mode('{}'), mode('{selector: {matchLabels: {a: b}}, portLevelMtls: {80: {mode: DISABLE}}}')),
    ).toEqual([['default/a: modes of ports none became 80=DISABLE; selector none became a=b']]);
    expect(
      changed(rules('{}'), rules('{action: DENY, rules: [{}]}', ', annotations: {istio.io/dry-run: "true"}')),
    ).toEqual([['default/a: action ALLOW became DENY on trial; rules none became {}']]);
    expect(changed(mode('{mtls: {mode: STRICT}}'), mode('{mtls: {mode: OFF}}'))).toEqual([
      ['default/a: problem none became spec.mtls.mode is "OFF", expected one of UNSET, DISABLE, PERMISSIVE, STRICT'],
    ]);
    expect(changed(rules('{}'), rules('{rule: []}'))).toEqual([
      ['default/a: problem none became spec.rule is not known, did you mean rules?'],
    ]);
    expect(changed(rules('{}'), rules('{targetRef: {kind: Gateway, name: a}}'))).toEqual([
      ['default/a: skipped none became yes'],
    ]);
    expect(between([mode('{}'), rules('{}')], []).kinds.map(({ kind, removed }) => [kind, removed])).toEqual([
      ['PeerAuthentication', ['default/a']],
      ['AuthorizationPolicy', ['default/a']],
    ]);
  });

  it('tells how a ServiceEntry changed', () => {
    const entry = (more: string) =>
      `apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec: {hosts: [a.example], addresses: [192.0.2.1], resolution: STATIC, ${more}}\n`;
    const changed = (before: string, after: string) =>
      between([entry(before)], [entry(after)]).kinds.map((one) => one.changed);
    const endpoint = (ip: string) => `ports: [{number: 80, name: a}], endpoints: [{address: ${ip}}]`;
    expect(changed(endpoint('198.51.100.1'), endpoint('198.51.100.2'))).toEqual([
      ['default/a: endpoints 198.51.100.1 became 198.51.100.2'],
    ]);
    const one = endpoint('198.51.100.1');
    expect(between([], [entry(one)]).kinds).toMatchObject([{ added: ['default/a (192.0.2.1/32)'] }]);
    expect(changed(one, `${one}, exportTo: ["."]`)).toEqual([['default/a: visible in all namespaces became default']]);
    expect(changed(one, `${one}, x: 1`)[0]?.[0]).toContain('; problem none became spec.x is not known');
  });

  it.each<[string, Partial<PodParts>, string]>([
    ['service account', { spec: 'serviceAccountName: api-v2' }, 'service account api-account became api-v2'],
    ['address', { ip: '10.0.0.2' }, 'addresses 10.0.0.1 became 10.0.0.2'],
    ['second address', { status: 'podIPs: [{ip: "fd00::1"}]' }, 'addresses gained fd00::1'],
    ['readiness', { status: 'conditions: [{type: Ready, status: "False"}]' }, 'state ready became not ready'],
    ['deletion', { metadata: 'deletionTimestamp: "2030-01-01T00:00:00Z"' }, 'state ready became terminating'],
    ['end', { status: 'phase: Failed' }, 'state ready became Failed'],
    ['labels', { labels: 'app: other' }, 'labels app=web became app=other'],
    ['sidecar', meshed, 'sidecar no became yes'],
    ['uid', { metadata: 'uid: other' }, 'uid none became other'],
  ])('tells the %s of a pod, as it was and as it is', (_, now, words) => {
    const text = api(now).replace('serviceAccountName: api-account, containers', 'containers');
    const after = 'spec' in now && now.spec?.startsWith('serviceAccountName') ? text : api(now);
    expect(between([api()], [after]).kinds).toMatchObject([{ kind: 'Pod', changed: [`shop/api: ${words}`] }]);
  });

  it.each<[string, string, string]>([
    ['address', webOf('web', '10.96.0.2'), 'addresses 10.96.0.1 became 10.96.0.2'],
    ['ports', webOf('web', '10.96.0.1', 81), 'ports 80→80/TCP became 81→81/TCP'],
    ['selector', webOf('other'), 'selector app=web became app=other'],
  ])('tells the %s of a Service', (_, after, words) => {
    expect(between([webOf('web')], [after]).kinds).toMatchObject([
      { kind: 'Service', changed: [`shop/web: ${words}`] },
    ]);
  });

  it('tells which endpoints of a slice are ready no more, and which are', () => {
    const of = (...ips: string[]) => slice('IPv4', `[${ips.map((ip) => `{addresses: [${ip}]}`).join(', ')}]`);
    const { kinds } = between([of('10.0.0.1', '10.0.0.2')], [of('10.0.0.2', '10.0.0.3')]);
    expect(kinds).toMatchObject([{ changed: ['shop/web-ipv4: ready endpoints lost 10.0.0.1 gained 10.0.0.3'] }]);
  });

  it('is short however much there is', () => {
    const many = Array.from({ length: 1000 }, (_, index) => `{addresses: [10.0.${index >> 8}.${index & 255}]}`);
    const { kinds } = between([slice('IPv4', '[]')], [slice('IPv4', `[${many.join(', ')}]`)]);
    expect(kinds[0]?.changed[0]).toMatch(/^shop\/web-ipv4: ready endpoints gained 10\.0\.0\.0, .* and 995 more$/);
    const long = webOf('x'.repeat(5000));
    expect(between([webOf('web')], [long]).kinds[0]?.changed[0]?.length).toBeLessThan(200);
  });
});

describe('a Service that loses its last ready endpoint', () => {
  const web = api({ labels: 'app: web' });
  const notReady = api({ labels: 'app: web', status: 'conditions: [{type: Ready, status: "False"}]' });
  const endpoint = (conditions: string) => slice('IPv4', `[{addresses: [10.0.0.1], conditions: {${conditions}}}]`);

  it.each([
    ['its pod is gone', [plain(), web], [plain()]],
    ['its pod is not ready', [plain(), web], [plain(), notReady]],
    ['it selects nobody', [webOf('web'), web], [webOf('other'), web]],
    ['the endpoint of its slice is not ready', [plain(), endpoint('')], [plain(), endpoint('ready: false')]],
  ])('is named when %s', (_, before, after) => {
    expect(between(before, after).servicesEmptied).toEqual(['shop/web (10.96.0.1)']);
  });

  it.each([
    ['never had one', [plain(), notReady], [plain()]],
    [
      'has another',
      [plain(), web, pod({ name: 'b', ip: '10.0.0.2' })],
      [plain(), notReady, pod({ name: 'b', ip: '10.0.0.2' })],
    ],
    ['is new', [], [plain()]],
    ['is gone itself', [plain(), web], [web]],
    ['has one that still serves', [plain(), endpoint('')], [plain(), endpoint('ready: false, terminating: true')]],
    [
      'wants those that are not ready',
      [plain('publishNotReadyAddresses: true'), web],
      [plain('publishNotReadyAddresses: true'), notReady],
    ],
  ])('is not named when it %s', (_, before, after) => {
    expect(between(before, after).servicesEmptied).toEqual([]);
  });
});

describe('the lines about it', () => {
  it('name twenty objects and the number of the rest, and warn of Services', async () => {
    const captured = captureLog();
    const services = Array.from({ length: 25 }, (_, index) => service(`{clusterIP: 10.96.1.${index}}`, `s${index}`));
    createChangesLog(createFakeClock(), captured.log)(objectsOf(...services), objectsOf());
    expect(captured.lines).toMatchObject([
      { level: 'info', msg: 'Registry changed', kind: 'Service', moreRemoved: 5 },
      { level: 'warn', msg: 'Services are gone from the registry', moreServices: 5, meaning: expect.any(String) },
    ]);
    expect(captured.lines[0]?.removed).toHaveLength(20);
    expect(captured.lines[1]?.services).toHaveLength(20);
  });

  it('are few a second, and the next one says how many were not written', async () => {
    const [clock, captured] = [createFakeClock(), captureLog()];
    const report = createChangesLog(clock, captured.log);
    const [one, other] = [objectsOf(api()), objectsOf(api({ ip: '10.0.0.2' }))];
    for (let changes = 0; changes < 4; changes++) {
      report(one, other);
      report(other, one);
    }
    expect(captured.lines).toHaveLength(5);
    await clock.advance(1_000);
    report(one, other);
    expect(captured.lines.at(-1)).toMatchObject({ kind: 'Pod', suppressed: 3 });
  });
});
