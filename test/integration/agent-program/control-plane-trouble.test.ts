import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { createTestAuthority } from '../../support/identities.ts';
import type { Agent } from './agent-program.ts';
import { freePorts, killPrograms, page, startAgent, startProgram } from './agent-program.ts';
import { idOf, newPath, useFolder, writeText } from './identity-files.ts';

/*
 * Goal: a sidecar that its control plane does not serve stays up and not ready, says why in one line with a remedy, and
 * stops as it should. Method: the real control plane, and the real sidecar with one thing wrong.
 */

useFolder();
afterEach(killPrograms);

const words = (object: object) => Buffer.from(JSON.stringify(object)).toString('base64url');
/** A token that nobody signed. */
const forgedToken = `${words({ alg: 'ES256' })}.${words({ sub: 'system:serviceaccount:shop:web' })}.${'x'.repeat(86)}`;

/** A control plane that is ready. */
async function startControlPlane() {
  const [port = 0, metricsPort = 0] = await freePorts(2);
  const caFile = newPath('root.pem');
  const program = startProgram([
    'control-plane',
    '--in-memory',
    ...['--listen', `127.0.0.1:${port}`, '--metrics-listen', `127.0.0.1:${metricsPort}`, '--write-root', caFile],
  ]);
  await program.line({ msg: 'Control plane ready' });
  return { url: `https://127.0.0.1:${port}`, caFile };
}

interface ControlPlaneFiles {
  readonly controlPlane: string;
  readonly controlPlaneCaFile: string;
  readonly tokenFile: string;
}

async function agentOf(files: ControlPlaneFiles): Promise<Agent> {
  const [listen] = await freePorts(1);
  return startAgent({ ...files, listen: `127.0.0.1:${listen}`, target: '127.0.0.1:5432', peer: idOf('db') });
}

/** Expects the sidecar to be alive and not ready because of `reason`, and to stop with 0. */
async function expectRefused(agent: Agent, reason: string): Promise<string> {
  const line = await agent.line({ level: 'warn' });
  expect(line).toMatchObject({
    reason,
    source: 'control_plane',
    detail: expect.any(String),
    remedy: expect.any(String),
  });
  const { status, text } = await page(agent.ports.health, '/healthz/ready');
  expect(status).toBe(503);
  expect(text).toContain(`identity: ${line.msg} (${line.detail})\n`);
  expect(text).toContain('policy: ');
  expect((await page(agent.ports.health, '/livez')).status).toBe(200);
  const { text: metrics } = await page(agent.ports.metrics, '/metrics');
  expect(metrics).toMatch(
    new RegExp(`remora_certificate_renewals_total\\{source="control_plane",result="failure",reason="${reason}"\\} \\d`),
  );
  expect(metrics).toContain('remora_control_plane_up 0');
  const ended = await agent.stop();
  expect(ended).toMatchObject({ code: 0, stderr: '' });
  expect(ended.stdout).not.toContain('"at ');
  expect(ended.stdout).not.toContain(forgedToken);
  return String(line.detail);
}

describe('a sidecar', () => {
  it('R2: whose control plane cannot be reached says unreachable', async () => {
    const [port] = await freePorts(1);
    const agent = await agentOf({
      controlPlane: `https://127.0.0.1:${port}`,
      controlPlaneCaFile: writeText('ca.pem', createTestAuthority('cluster.local').bundlePem),
      tokenFile: writeText('token', forgedToken),
    });
    expect(await expectRefused(agent, 'unreachable')).toContain(`127.0.0.1:${port}`);
  });

  it('R6: whose CA file is of another authority says that its certificate is not trusted', async () => {
    const { url } = await startControlPlane();
    const agent = await agentOf({
      controlPlane: url,
      controlPlaneCaFile: writeText('ca.pem', createTestAuthority('cluster.local').bundlePem),
      tokenFile: writeText('token', forgedToken),
    });
    expect(await expectRefused(agent, 'server_untrusted')).toContain('no root in controlPlaneCaFile has issued it');
  });

  it.each([
    ['is missing', undefined],
    ['is empty', ''],
    ['holds no certificate', 'none'],
  ])('R6: whose CA file %s names it', async (_, text) => {
    const { url } = await startControlPlane();
    const controlPlaneCaFile = text === undefined ? newPath('none.pem') : writeText('ca.pem', text);
    const agent = await agentOf({ controlPlane: url, controlPlaneCaFile, tokenFile: writeText('token', forgedToken) });
    expect(await expectRefused(agent, 'bad_pem')).toContain(controlPlaneCaFile);
  });

  it('R8: whose token is refused says http_401', async () => {
    const { url, caFile } = await startControlPlane();
    expect(readFileSync(caFile, 'utf8')).toContain('BEGIN CERTIFICATE');
    const agent = await agentOf({
      controlPlane: url,
      controlPlaneCaFile: caFile,
      tokenFile: writeText('token', forgedToken),
    });
    await expectRefused(agent, 'http_401');
  });

  it.each([
    ['is missing', undefined],
    ['is empty', ''],
    ['holds two lines', 'a.b.c\nd.e.f\n'],
  ])('R9: whose token file %s names it', async (_, text) => {
    const { url, caFile } = await startControlPlane();
    const tokenFile = text === undefined ? newPath('none') : writeText('token', text);
    const agent = await agentOf({ controlPlane: url, controlPlaneCaFile: caFile, tokenFile });
    expect(await expectRefused(agent, 'token_missing')).toContain(tokenFile);
  });
});
