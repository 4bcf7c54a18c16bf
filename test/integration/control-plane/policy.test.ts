import { once } from 'node:events';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, describe, expect, it } from 'vitest';
import { createPolicyParts } from '../../../src/agent/policy-parts.ts';
import { systemClock } from '../../../src/clock.ts';
import type { PolicyPart, PolicyState, StreamMessage } from '../../../src/control-api.ts';
import { maxPolicyLineBytes, paths } from '../../../src/control-api.ts';
import type { ControlPlane } from '../../../src/control-plane/control-plane.ts';
import { controlPlaneDefaults, startControlPlane } from '../../../src/control-plane/control-plane.ts';
import type { RegistryObjects } from '../../../src/control-plane/store/objects.ts';
import { noObjects } from '../../../src/control-plane/store/objects.ts';
import type { Store } from '../../../src/control-plane/store/store.ts';
import { captureLog } from '../../support/captured-log.ts';
import { openStream, webPod } from '../../support/control-plane-client.ts';
import { labelledPod, scopedPolicy } from '../../support/policy-objects.ts';
import { createFakeStore, meshedPod } from '../../support/registry-source.ts';

const anyPort = { ip: '127.0.0.1', port: 0 };
const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function start(store: Store | undefined, rest: object = {}): Promise<ControlPlane> {
  const settings = { ...controlPlaneDefaults, listen: anyPort, metricsListen: anyPort, ...rest };
  const collaborators = { clock: systemClock, log: captureLog().log, ...(store && { store }) };
  const plane = await startControlPlane(collaborators, settings);
  closing.push(() => plane.close());
  return plane;
}

async function streamOf(plane: ControlPlane, pod = 'web-0', destinations: readonly string[] = []) {
  const stream = await openStream(plane, await plane.mintToken({ ...webPod, pod }), destinations);
  closing.push(() => stream.destroy());
  return stream;
}

/** What of a line is policy; undefined for other topics. */
const policyOf = (message: StreamMessage): PolicyState | undefined =>
  message.topic === 'policy' ? message.data : undefined;
const policiesIn = (messages: readonly StreamMessage[]) => messages.map(policyOf).filter((one) => one !== undefined);

const object = (kind: string, name: string, namespace: string, spec: string) =>
  `apiVersion: security.istio.io/v1\nkind: ${kind}\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec: ${spec}\n`;
const peers = (name: string, namespace: string, spec: string) => object('PeerAuthentication', name, namespace, spec);
const policy = (name: string, namespace: string, spec: string) => object('AuthorizationPolicy', name, namespace, spec);
const yaml = (...documents: string[]) => documents.join('---\n');
const web = meshedPod('web-0', '10.0.0.1');
const api = meshedPod('api-0', '10.0.0.2', 'app: api');
const ofWeb = 'selector: {matchLabels: {app: web}}';

describe('a stream', () => {
  it('tells of the policy that selects the pod of the token, and of a change to those whom it concerns', async () => {
    const mesh = peers('default', 'istio-system', '{mtls: {mode: STRICT}}');
    const deny = policy('deny', 'shop', '{action: DENY, rules: [{from: [{source: {namespaces: [test]}}]}]}');
    const lax = peers('web', 'shop', `{${ofWeb}, mtls: {mode: PERMISSIVE}, portLevelMtls: {8443: {mode: STRICT}}}`);
    const store = createFakeStore(yaml(web, api, mesh, deny, lax));
    const plane = await start(store);
    const [toWeb, toApi] = [await streamOf(plane), await streamOf(plane, 'api-0')];
    const authorization = [{ name: 'shop/deny', action: 'DENY', rules: [{ from: [{ namespaces: ['test'] }] }] }];
    expect(policiesIn(await toWeb.take(3))).toEqual([
      {
        mode: 'PERMISSIVE',
        modeSetBy: 'shop/web',
        ports: [{ port: 8443, mode: 'STRICT', setBy: 'shop/web' }],
        authorization,
      },
    ]);
    expect(policiesIn(await toApi.take(3))).toEqual([
      { mode: 'STRICT', modeSetBy: 'istio-system/default', authorization },
    ]);
    store.set(yaml(web, api, mesh, lax.replace('PERMISSIVE', 'DISABLE'), deny));
    expect(policiesIn(await toWeb.take(1))).toMatchObject([{ mode: 'DISABLE' }]);
    store.set(yaml(web, api, mesh, deny));
    expect(policiesIn(await toWeb.take(1))).toMatchObject([{ mode: 'STRICT' }]);
    store.set(yaml(web, api, deny));
    expect(policiesIn(await toApi.take(1))).toEqual([{ mode: 'PERMISSIVE', authorization }]);
  });

  it('takes the policies of the whole mesh from the root namespace of the settings', async () => {
    const everywhere = policy('all', 'mesh', '{}');
    const store = createFakeStore(yaml(web, everywhere, peers('default', 'istio-system', '{mtls: {mode: STRICT}}')));
    const stream = await streamOf(await start(store, { rootNamespace: 'mesh' }));
    expect(policiesIn(await stream.take(3))).toEqual([
      { mode: 'PERMISSIVE', authorization: [{ name: 'mesh/all', action: 'ALLOW', rules: [] }] },
    ]);
  });

  it('tells of the own trust domain wherever a principal is of cluster.local, as in Istio', async () => {
    const spec = '{action: DENY, rules: [{from: [{source: {principals: [cluster.local/ns/a/sa/b]}}]}]}';
    const store = createFakeStore(yaml(web, policy('all', 'shop', spec)));
    const stream = await streamOf(await start(store, { trustDomain: 'example.org' }));
    const [told] = policiesIn(await stream.take(3));
    const principals = ['cluster.local/ns/a/sa/b', 'example.org/ns/a/sa/b'];
    expect(told?.authorization).toMatchObject([{ rules: [{ from: [{ principals }] }] }]);
  });

  it('denies everything to a pod whose labels are not known while a selector may be for it, until it is there', async () => {
    const narrow = policy('web', 'shop', `{${ofWeb}, action: DENY, rules: [{}]}`);
    const store = createFakeStore(yaml(api, narrow));
    const stream = await streamOf(await start(store));
    const [unknown] = policiesIn(await stream.take(3));
    expect(unknown?.authorization).toMatchObject([{ name: 'remora/unknown-pod', action: 'DENY', rules: [] }]);
    store.set(yaml(api, narrow, web.replace('name: web-0,', 'name: web-0, uid: another,')));
    store.set(yaml(api, narrow, web));
    expect(policiesIn(await stream.take(1))).toMatchObject([{ authorization: [{ name: 'shop/web' }] }]);
  });

  it('G6: denies everything by an object that it does not understand, which the metrics count', async () => {
    const unknownField = policy('typo', 'shop', '{action: ALLOW, rulez: []}');
    const gateway = policy(
      'gateway',
      'shop',
      '{targetRefs: [{kind: Gateway, group: g, name: a}], action: DENY, rules: [{}]}',
    );
    const plane = await start(createFakeStore(yaml(web, unknownField, gateway, peers('a', 'shop', '{mtls: {}}'))));
    const [state] = policiesIn(await (await streamOf(plane)).take(3));
    expect(state?.authorization).toMatchObject([
      { name: 'shop/typo', problem: expect.stringContaining('rulez'), rules: [] },
    ]);
    const text = await (await fetch(`http://127.0.0.1:${plane.metricsAddress.port}/metrics`)).text();
    for (const [name, count] of [
      ['accepted', 1],
      ['invalid', 1],
      ['skipped', 1],
    ])
      expect(text).toContain(`remora_policy_objects{state="${name}"} ${count}\n`);
  });
});

/** So many policies of some 1,000 bytes, in a registry that changes when the test says so. */
function largeStore(count: number) {
  const listeners = new Set<(objects: RegistryObjects) => void>();
  const objectsOf = (word: string): RegistryObjects => ({
    ...noObjects,
    pods: [labelledPod('shop/web-0')],
    authorizationPolicies: Array.from({ length: count }, (_, index) =>
      scopedPolicy(`shop/${word}-${index}`, { policy: { rules: [{ from: [{ principals: ['x'.repeat(900)] }] }] } }),
    ),
  });
  let objects = objectsOf('first');
  return {
    current: () => objects,
    subscribe(listener: (objects: RegistryObjects) => void) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close: async () => undefined,
    set(word: string) {
      objects = objectsOf(word);
      for (const listener of listeners) listener(objects);
    },
  };
}

const isPart = (message: object): message is PolicyPart => 'part' in message;

/** The name of the first policy that a sidecar has from these lines. */
function received(messages: readonly object[]): (PolicyState | undefined)[] {
  const parts = createPolicyParts();
  return messages.filter(isPart).map((part) => {
    const outcome = parts.add(part);
    expect(outcome.kind).not.toBe('refused');
    return outcome.kind === 'complete' ? outcome.policy : undefined;
  });
}

describe('a policy that is longer than a line', () => {
  it('G5: comes in parts that a sidecar puts together, with other topics between them', async () => {
    const stream = await streamOf(await start(largeStore(1500)), 'web-0', ['10.0.0.1:80', '10.0.0.2:80']);
    const messages: StreamMessage[] = [...(await stream.take(3))];
    const first = messages.find((message): message is StreamMessage & PolicyPart => isPart(message));
    messages.push(...(await stream.take((first?.of ?? 0) + 1)));
    expect(Math.max(...messages.map((one) => Buffer.byteLength(JSON.stringify(one))))).toBeLessThan(maxPolicyLineBytes);
    expect(messages.slice(0, 6).map(({ topic }) => topic)).toEqual([
      ...['trust-bundles', 'revocations', 'policy', 'destination', 'destination', 'policy'],
    ]);
    const states = received(messages);
    expect(states.slice(0, -1).every((one) => one === undefined)).toBe(true);
    expect(states.at(-1)?.authorization).toHaveLength(1500);
  });

  it('gives way to the newest while it is half sent, and is told no more when nothing has changed', async () => {
    const store = largeStore(20_000);
    const plane = await start(store);
    const socket = await stalled(plane);
    for (let change = 0; change < 5; change += 1) {
      store.set(`change-${change}`);
      // The whole of it is printed in many turns.
      await expect.poll(() => new Promise((resolve) => setImmediate(resolve, true))).toBe(true);
    }
    store.set('last');
    const lines: string[] = [];
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n')) {
        if (text.startsWith('{"topic":"policy"')) lines.push(text.slice(0, end));
        text = text.slice(end + 1);
      }
    });
    socket.resume();
    const isLast = () => {
      const { part, of } = JSON.parse(lines.at(-1) ?? '{}');
      if (part === undefined || part !== of) return false;
      const [first] = received(lines.map((line) => JSON.parse(line))).at(-1)?.authorization ?? [];
      return first?.name === 'shop/last-0';
    };
    while (!isLast()) await once(socket, 'data');
    const versions = new Set(lines.map((line) => JSON.parse(line).version));
    // What was half sent when the reader stalled, and what it was told instead: none of those between.
    expect(versions.size).toBeLessThanOrEqual(3);
  });
});

async function stalled(plane: ControlPlane): Promise<Socket> {
  const { port } = plane.apiAddress;
  const socket = connectTls({ host: '127.0.0.1', port, ca: plane.rootPem, servername: 'localhost' });
  await once(socket, 'secureConnect');
  closing.push(() => socket.destroy());
  const token = await plane.mintToken(webPod);
  const body = '{"destinations":[]}';
  socket.pause();
  socket.write(
    `POST ${paths.stream} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  await once(socket, 'readable');
  return socket;
}

describe('a registry that changes a hundred times a second', () => {
  it('G22: is read a few times, the last state is told, and memory stays flat', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'remora-policy-'));
    closing.push(() => rmSync(folder, { recursive: true }));
    const registry = join(folder, 'registry');
    const write = (number: number) => {
      const many = Array.from({ length: 30 }, (_, index) =>
        policy(`p${index}`, 'shop', `{action: DENY, rules: [{from: [{source: {namespaces: [n${number}]}}]}]}`),
      );
      writeFileSync(join(folder, 'draft'), yaml(web, ...many));
      renameSync(join(folder, 'draft'), join(registry, 'all.yaml'));
    };
    mkdirSync(registry);
    write(0);
    const stream = await streamOf(await start(undefined, { registry }));
    const told: string[] = [];
    const read = async (): Promise<void> => {
      const [message] = await stream.take(1);
      const rules = message && policyOf(message)?.authorization?.[0]?.rules;
      if (rules !== undefined) told.push(rules[0]?.from?.[0]?.namespaces?.[0] ?? '');
      return read();
    };
    read().catch(() => undefined);
    await expect.poll(() => told, { timeout: 20_000 }).toEqual(['n0']);
    const burst = async (from: number) => {
      for (let number = from; number < from + 100; number += 1) {
        write(number);
        await systemClock.sleep(10);
      }
      await expect.poll(() => told.at(-1), { timeout: 20_000 }).toBe(`n${from + 99}`);
    };
    await burst(1);
    const before = heapUsed();
    await burst(101);
    await burst(201);
    expect(heapUsed() - before).toBeLessThan(8 * 1024 * 1024);
    expect(told.length).toBeLessThan(30);
  });
});

/** What is left when all that is unreachable is collected; vitest does not run with --expose-gc. */
function heapUsed(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage().heapUsed;
}
