/** What the bytes are that a connection begins with. */
export type HelloAnswer =
  /** No TLS handshake begins like this, whatever follows. */
  | { readonly kind: 'no' }
  /** Ask again from `progress` on when there are `atLeast` bytes in all; sooner nothing can be said. */
  | { readonly kind: 'more'; readonly atLeast: number; readonly progress: HelloProgress }
  /** It begins like a TLS handshake and is none. */
  | { readonly kind: 'bad'; readonly why: string }
  /** `alpn`: the protocols that the client offers, in its order, byte by byte as latin1. */
  | { readonly kind: 'hello'; readonly alpn: readonly string[] };

/** What is known of the bytes so far, so that none is looked at again while the others come in. */
export interface HelloProgress {
  /** Where the first record begins that is not here whole. */
  readonly at: number;
  /** Bytes of the handshake message in the records before it. */
  readonly messageBytes: number;
  /** That the message says it has without its header; undefined while that is not here. */
  readonly length: number | undefined;
}

/**
 * The longest message without its header. OpenSSL takes as many (CLIENT_HELLO_MAX_LENGTH): what is longer would not be
 * understood by whoever it is for either.
 */
export const maxHelloBytes = 131_396;

/** The message with the headers of its records, of which there may be many. */
export const maxHelloRecordBytes = 256 * 1024;

/** ContentType of RFC 8446 §5.1: handshake. */
const handshakeRecord = 0x16;
const recordHeaderBytes = 5;
/** RFC 8446 §5.1 of a record in plaintext. */
const maxRecordBytes = 2 ** 14;
/** HandshakeType of RFC 8446 §4: client_hello. */
const clientHelloMessage = 1;
const messageHeaderBytes = 4;
const versionAndRandomBytes = 34;
const maxSessionIdBytes = 32;
/** RFC 7301. */
const alpnExtension = 16;

const start: HelloProgress = { at: 0, messageBytes: 0, length: undefined };

/**
 * Looks for a ClientHello (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2), however its client cut it into segments and records. Never
 * throws, and never asks for more than `maxHelloRecordBytes`. The same bytes in other pieces get the same answer.
 */
export function readClientHello(bytes: Buffer, progress: HelloProgress = start): HelloAnswer {
  if (bytes.length > 0 && bytes[0] !== handshakeRecord) return { kind: 'no' };
  let { at, messageBytes, length } = progress;
  for (;;) {
    const why = problemOfRecord(bytes, at);
    if (why !== undefined) return { kind: 'bad', why };
    const more = (atLeast: number): HelloAnswer => ({ kind: 'more', atLeast, progress: { at, messageBytes, length } });
    // Up to the type of the message each byte can be the one that tells.
    if (bytes.length - at <= recordHeaderBytes) return more(bytes.length + 1);
    const end = endOfRecord(bytes, at);
    if (bytes.length < end) return more(end);
    messageBytes += end - at - recordHeaderBytes;
    at = end;
    if (messageBytes < messageHeaderBytes) continue;
    length ??= messageLength(bytes);
    if (length > maxHelloBytes) return { kind: 'bad', why: `Its ClientHello has ${length} bytes` };
    if (messageBytes >= messageHeaderBytes + length) return readMessage(message(bytes, messageHeaderBytes + length));
  }
}

/** Whether bytes that are no TLS handshake are a record of TLS all the same, as far as they are here. */
export function isOtherRecord([type = 0, major, minor = 0]: Buffer): boolean {
  return contentTypes.has(type) || (major === 3 && minor <= 4);
}

/** Those that are registered; the handshake is among them. */
const contentTypes: ReadonlySet<number> = new Set([20, 21, 22, 23, 24, 25, 26]);

const endOfRecord = (bytes: Buffer, at: number) => at + recordHeaderBytes + bytes.readUInt16BE(at + 3);

/** What is wrong with the record that begins here, as far as it is here; undefined while nothing is. */
function problemOfRecord(bytes: Buffer, at: number): string | undefined {
  const { [at]: type = handshakeRecord, [at + 1]: major = 3 } = bytes;
  if (type !== handshakeRecord) return `A record of type ${type} interrupts its ClientHello`;
  if (major !== 3) return `A record has the version ${major}`;
  if (bytes.length < at + recordHeaderBytes) return undefined;
  const length = bytes.readUInt16BE(at + 3);
  if (length === 0 || length > maxRecordBytes) return `A record has ${length} bytes`;
  if (at + recordHeaderBytes + length > maxHelloRecordBytes) return 'Its ClientHello comes in too many records';
  const messageType = bytes[recordHeaderBytes] ?? clientHelloMessage;
  return messageType === clientHelloMessage ? undefined : `It begins with a handshake message of type ${messageType}`;
}

function messageLength(bytes: Buffer): number {
  return message(bytes, messageHeaderBytes).readUIntBE(1, 3);
}

/** The first bytes of the message, without the headers of the records that carry them; all of these are here. */
function message(bytes: Buffer, length: number): Buffer {
  const fragments: Buffer[] = [];
  let missing = length;
  for (let at = 0; missing > 0; at = endOfRecord(bytes, at)) {
    const fragment = bytes.subarray(
      at + recordHeaderBytes,
      Math.min(endOfRecord(bytes, at), at + recordHeaderBytes + missing),
    );
    fragments.push(fragment);
    missing -= fragment.length;
  }
  return Buffer.concat(fragments);
}

function readMessage(hello: Buffer): HelloAnswer {
  const alpn = alpnOf(reader(hello.subarray(messageHeaderBytes)));
  return alpn === undefined ? { kind: 'bad', why: 'Its ClientHello is malformed' } : { kind: 'hello', alpn };
}

/** Undefined where the hello is malformed. */
function alpnOf(hello: Reader): readonly string[] | undefined {
  const fields = [hello.bytes(versionAndRandomBytes), hello.vector(1), hello.vector(2), hello.vector(1)];
  const [, sessionId, cipherSuites, compressions] = fields;
  if (sessionId === undefined || cipherSuites === undefined || compressions === undefined) return undefined;
  if (sessionId.length > maxSessionIdBytes || compressions.length === 0) return undefined;
  if (cipherSuites.length === 0 || cipherSuites.length % 2 !== 0) return undefined;
  // TLS 1.2 allows a hello without extensions.
  if (hello.isOver()) return [];
  const extensions = hello.vector(2);
  return extensions !== undefined && hello.isOver() ? protocolsOf(reader(extensions)) : undefined;
}

function protocolsOf(extensions: Reader): readonly string[] | undefined {
  let protocols: readonly string[] | undefined;
  while (!extensions.isOver()) {
    const type = extensions.bytes(2)?.readUInt16BE();
    const content = extensions.vector(2);
    if (type === undefined || content === undefined) return undefined;
    if (type !== alpnExtension) continue;
    if (protocols !== undefined) return undefined;
    protocols = namesOf(reader(content));
    if (protocols === undefined) return undefined;
  }
  return protocols ?? [];
}

function namesOf(content: Reader): readonly string[] | undefined {
  const list = content.vector(2);
  if (list === undefined || list.length === 0 || !content.isOver()) return undefined;
  const names: string[] = [];
  for (const rest = reader(list); !rest.isOver(); ) {
    const name = rest.vector(1);
    if (name === undefined || name.length === 0) return undefined;
    names.push(name.toString('latin1'));
  }
  return names;
}

/** Takes fields off the front; one that is not there whole is undefined, and so is everything after it. */
interface Reader {
  bytes(count: number): Buffer | undefined;
  /** One with its length in front, in so many bytes (RFC 8446 §3.4). */
  vector(lengthBytes: number): Buffer | undefined;
  isOver(): boolean;
}

function reader(content: Buffer): Reader {
  let at = 0;
  const bytes = (count: number) => {
    const from = at;
    at += count;
    return at <= content.length ? content.subarray(from, at) : undefined;
  };
  return {
    bytes,
    vector(lengthBytes) {
      const length = bytes(lengthBytes);
      return length && bytes(length.readUIntBE(0, lengthBytes));
    },
    isOver: () => at >= content.length,
  };
}
