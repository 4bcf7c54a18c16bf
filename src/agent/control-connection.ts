import { X509Certificate } from 'node:crypto';
import { checkServerIdentity } from 'node:tls';
import type { Dispatcher } from 'undici';
import { Agent } from 'undici';
import { readBoundedFile } from '../bounded-file.ts';
import { messageOf, RenewalError } from '../errors.ts';

/** Connections to the control plane, each made under the roots that the CA file held when it was asked for. */
export interface ControlConnection {
  /** Throws `RenewalError('bad_pem')` when the CA file holds no usable roots. */
  dispatcher(): Promise<Dispatcher>;
  /** SHA-256 of each certificate in the CA file now, lower-case hexadecimal. Throws as `dispatcher` does. */
  roots(): Promise<readonly string[]>;
  close(): Promise<void>;
}

export interface ControlConnectionSettings {
  /** `https://host:port`. */
  readonly url: string;
  /** PEM. */
  readonly caFile: string;
  /** What the certificate of the control plane must name; the host of the URL by default. */
  readonly serverName: string | undefined;
  readonly connectTimeoutMs: number;
}

/** Bytes of the largest header section that a reply may have. */
const maxHeaderBytes = 16 * 1024;
const idleConnectionMs = 10_000;
const maxCaFileBytes = 1024 * 1024;

/** Connections are kept for the next call only as long as the CA file does not change. */
export function createControlConnection(settings: ControlConnectionSettings): ControlConnection {
  const agents = new Set<Agent>();
  let current: { readonly pem: string; readonly agent: Agent; readonly roots: readonly string[] } | undefined;

  const retire = (agent: Agent) =>
    void agent
      .close()
      .catch(() => undefined)
      .finally(() => agents.delete(agent));

  const read = async () => {
    const pem = await readRoots(settings.caFile);
    if (current?.pem === pem) return current;
    const certificates = splitRoots(settings.caFile, pem);
    const agent = createAgent(settings, certificates);
    agents.add(agent);
    if (current !== undefined) retire(current.agent);
    current = { pem, agent, roots: [...new Set(certificates.map(fingerprintOf))] };
    return current;
  };

  return {
    dispatcher: async () => (await read()).agent,
    roots: async () => (await read()).roots,
    async close() {
      await Promise.all([...agents].map((agent) => agent.destroy()));
    },
  };
}

function createAgent({ url, serverName, connectTimeoutMs }: ControlConnectionSettings, ca: string[]): Agent {
  const expectedName = serverName ?? new URL(url).hostname.replace(/^\[(.*)\]$/, '$1');
  return new Agent({
    // One protocol, whose parser bounds everything; a resumed session would skip the check of the name and of a changed CA.
    allowH2: false,
    maxCachedSessions: 0,
    pipelining: 1,
    maxHeaderSize: maxHeaderBytes,
    keepAliveTimeout: idleConnectionMs,
    keepAliveMaxTimeout: idleConnectionMs,
    // Our own deadline is over the whole call.
    headersTimeout: 0,
    bodyTimeout: 0,
    connect: {
      ca,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.3',
      maxCachedSessions: 0,
      timeout: connectTimeoutMs,
      ...(serverName === undefined || isIpLiteral(serverName) ? {} : { servername: serverName }),
      checkServerIdentity: (_host, certificate) => checkServerIdentity(expectedName, certificate),
    },
  });
}

const isIpLiteral = (name: string) => name.includes(':') || /^[\d.]+$/.test(name);

async function readRoots(path: string): Promise<string> {
  try {
    return (await readBoundedFile(path, maxCaFileBytes)).toString('latin1');
  } catch (error) {
    throw new RenewalError('bad_pem', `The CA file of the control plane ${messageOf(error)}`);
  }
}

const fingerprintOf = (pem: string) => new X509Certificate(pem).fingerprint256.replaceAll(':', '').toLowerCase();

const pemCertificate = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/**
 * The certificates of a PEM file. Never empty: OpenSSL takes an absent or empty list of roots for the public ones.
 */
function splitRoots(path: string, pem: string): string[] {
  const roots = pem.match(pemCertificate) ?? [];
  try {
    for (const root of roots) new X509Certificate(root);
  } catch (error) {
    throw new RenewalError('bad_pem', `The CA file ${path} holds a broken certificate: ${messageOf(error)}`);
  }
  if (roots.length === 0) throw new RenewalError('bad_pem', `The CA file ${path} holds no certificate, expected PEM`);
  return roots;
}
