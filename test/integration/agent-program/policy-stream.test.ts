import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AuthorizationPolicy, PolicyState } from '../../../src/control-api.ts';
import { paths } from '../../../src/control-api.ts';
import { createPolicyPrinter } from '../../../src/control-plane/policy/printed-policy.ts';
import type { FakeControlPlane } from '../../support/fake-control-plane.ts';
import { json, startFakeControlPlane } from '../../support/fake-control-plane.ts';
import type { Agent } from './agent-program.ts';
import { freePorts, killPrograms, page, readyAgent, startAgent } from './agent-program.ts';
import { dial, echoes, gone } from './connected-pair.ts';
import { idOf, useFolder, writeIdentity, writeText } from './identity-files.ts';

/*
 * Goal: what a real sidecar does while its policy is on the way, in parts, lost or not understood: it refuses everybody until
 * all of a policy is there, and what it last understood stays in force, never less.
 * Method: `api` gets its policy from a control plane in the hands of the test, and `web`, a static tunnel, dials it.
 */

useFolder();

let plane: FakeControlPlane;
let streams: ServerResponse[];
let api: Agent;
let listen: number;
/** Bytes and connections that the application has seen. */
let seen: number;
let closing: (() => unknown)[];

const patience = { timeout: 30_000, interval: 50 };
const deny = (name: string, principal: string): AuthorizationPolicy => ({
  name,
  action: 'DENY',
  rules: [{ from: [{ principals: [principal] }] }],
});
/** Some 300 KB: several lines. */
const large: PolicyState = {
  mode: 'STRICT',
  authorization: Array.from({ length: 3000 }, (_, index) =>
    deny(`shop/p${index}`, `cluster.local/ns/other/sa/x${index}`),
  ),
};
const denied: PolicyState = {
  mode: 'STRICT',
  authorization: [deny('shop/no-web', idOf('web').slice('spiffe://'.length))],
};

/** The lines by which a real control plane tells of a policy. */
function linesOf(policy: PolicyState, version: number): readonly string[] {
  const head = JSON.stringify({ topic: 'policy', epoch: 'a', version }).slice(0, -1);
  return [...createPolicyPrinter().print(policy).fields()].map((fields) => `${head}${fields}}\n`);
}

beforeEach(async () => {
  streams = [];
  closing = [];
  seen = 0;
  plane = await startFakeControlPlane({
    answer(request) {
      if (request.path !== paths.stream) return json({})(request);
      request.response.writeHead(200, { 'content-type': 'application/x-ndjson' });
      request.response.write('{"topic":"heartbeat"}\n');
      streams.push(request.response);
    },
  });
  const application = createServer((socket) => {
    seen += 1;
    closing.push(() => socket.destroy());
    socket.on('error', () => undefined).pipe(socket);
  });
  await once(application.listen(0, '127.0.0.1'), 'listening');
  closing.push(() => application.close());
  const target = `127.0.0.1:${(application.address() as AddressInfo).port}`;
  api = await startAgent({
    ...writeIdentity('api'),
    controlPlane: plane.url,
    controlPlaneCaFile: writeText('ca.pem', plane.caPem),
    tokenFile: writeText('token', 'token'),
    deliver: target,
  });
  [listen = 0] = await freePorts(1);
  await readyAgent({
    ...writeIdentity('web'),
    ...{ listen: `127.0.0.1:${listen}`, target, peer: idOf('api'), via: `127.0.0.1:${api.ports.hbone}` },
  });
});
afterEach(async () => {
  for (const close of closing) await close();
  killPrograms();
  await plane.close();
});

const stream = async (index: number) => {
  await expect.poll(() => streams.length, patience).toBeGreaterThan(index);
  return streams[index]!;
};
const readiness = async () => (await page(api.ports.health, '/healthz/ready')).text;
const metrics = async () => (await page(api.ports.metrics, '/metrics')).text;
const connected = async (): Promise<Socket> => {
  const socket = dial(listen);
  closing.push(() => socket.destroy());
  await echoes(socket, 'hello');
  return socket;
};
const refused = async (reason: string) => {
  const before = [seen, api.lines.filter((line) => line.reason === reason).length] as const;
  const socket = dial(listen);
  socket.write('hello');
  await gone(socket);
  expect(socket.bytesRead).toBe(0);
  await expect
    .poll(() => api.lines.filter((line) => line.reason === reason).length, patience)
    .toBeGreaterThan(before[1]);
  expect(seen).toBe(before[0]);
};
const send = (response: ServerResponse, lines: readonly string[]) => {
  for (const line of lines) response.write(line);
};

describe('a policy in parts', () => {
  it('G5: is not in force before its last part: not ready, and everybody is refused, also on the next stream', async () => {
    const lines = linesOf(large, 1);
    expect(lines.length).toBeGreaterThan(3);
    const first = await stream(0);
    await refused('policy_unavailable');
    send(first, lines.slice(0, -1));
    await api.line({ msg: 'Control plane reachable' });
    await refused('policy_unavailable');
    expect(await readiness()).toContain('policy: No policy has arrived yet');
    first.end();
    const second = await stream(1);
    send(second, lines.slice(0, -1));
    await refused('policy_unavailable');
    expect(await readiness()).toContain('policy: No policy has arrived yet');
    expect(await metrics()).toContain('remora_ready{gate="policy"} 0');
    send(second, lines.slice(-1));
    await api.line({ msg: 'Ready' });
    await connected();
    expect(await metrics()).toContain('remora_policy_objects{state="enforced"} 3000');
  });

  it('G23: with parts that do not belong together denies everything, is named, and gives way to a whole one', async () => {
    const first = await stream(0);
    send(first, linesOf({ mode: 'STRICT' }, 1));
    await api.line({ msg: 'Ready' });
    const open = await connected();
    const [one = '', ...others] = linesOf(large, 2);
    send(first, [one, ...others.slice(1)]);
    const { detail } = await api.line({ msg: 'Control-plane message refused' });
    expect(detail).toMatch(
      /^The policy is not understood, so it denies everything: part 3 of \d of version 2 came after part 1/,
    );
    await refused('policy_unavailable');
    expect(await readiness()).toContain('policy: ');
    send(first, linesOf(large, 3));
    await expect.poll(readiness, patience).not.toContain('policy: ');
    await connected();
    expect(open.destroyed).toBe(false);
  });
});

describe('a control plane that goes', () => {
  it('G7: leaves its last policy in force, what it denies as well, and a gauge that says since when', async () => {
    const first = await stream(0);
    send(first, linesOf(denied, 1));
    await api.line({ msg: 'Ready' });
    await refused('policy_deny');
    await plane.close();
    await api.line({ msg: 'Control plane lost, what it last said stays in force' });
    await refused('policy_deny');
    expect(await readiness()).toContain('ready');
    const text = await metrics();
    expect(text).toContain('remora_control_plane_up 0');
    expect(text).toMatch(/^remora_policy_last_update_timestamp_seconds \d+/m);
    expect(text).toContain('remora_policy_objects{state="enforced"} 1');
  });

  it('G7: in the middle of a newer policy leaves the one before in force', async () => {
    const first = await stream(0);
    send(first, linesOf(denied, 1));
    await api.line({ msg: 'Ready' });
    send(first, linesOf(large, 2).slice(0, -1));
    first.destroy();
    await api.line({ msg: 'Control plane lost, what it last said stays in force' });
    await refused('policy_deny');
    send(await stream(1), linesOf(large, 2));
    await expect
      .poll(
        () =>
          connected().then(
            () => true,
            () => false,
          ),
        patience,
      )
      .toBe(true);
  });
});

describe('a control plane of another version', () => {
  const line = (data: object, version: number) => `${JSON.stringify({ topic: 'policy', epoch: 'a', version, data })}\n`;

  it.each([
    ['a field', { mode: 'PERMISSIVE', exceptions: [] }],
    ['an action', { mode: 'STRICT', authorization: [{ name: 'shop/a', action: 'LIMIT', rules: [] }] }],
    [
      'a condition',
      {
        mode: 'STRICT',
        authorization: [{ name: 'shop/a', action: 'ALLOW', rules: [{ when: [{ key: 'source.zone' }] }] }],
      },
    ],
    [
      'a field of a rule',
      { mode: 'STRICT', authorization: [{ name: 'shop/a', action: 'ALLOW', rules: [{ unless: [] }] }] },
    ],
  ])('P16: that knows %s more is not half obeyed: nobody new is let in, and it is said', async (_, data) => {
    const first = await stream(0);
    send(first, [line({ mode: 'STRICT' }, 1)]);
    await api.line({ msg: 'Ready' });
    await connected();
    send(first, [line(data, 2)]);
    await api.line({ msg: 'Control-plane message refused' });
    await refused('policy_unavailable');
    expect(await metrics()).toContain('remora_ready{gate="policy"} 0');
  });

  it('G23: that knows modes alone is obeyed as a whole', async () => {
    const first = await stream(0);
    send(first, [line({ mode: 'STRICT' }, 1), '{"topic":"weather","data":"rain"}\n']);
    await api.line({ msg: 'Ready' });
    await connected();
  });
});
