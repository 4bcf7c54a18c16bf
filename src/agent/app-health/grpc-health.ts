/**
 * The two messages of grpc.health.v1, by hand: one string field and one enum field are not worth a library that
 * every sidecar would load. The frame is that of gRPC over HTTP/2, Length-Prefixed-Message; the fields are Protocol
 * Buffers' wire format, field 1 of HealthCheckRequest (string service) and of HealthCheckResponse (enum status).
 */

/** Bytes of the largest answer that is read. */
export const maxMessageBytes = 4096;

/** Compressed flag and length. */
const prefixBytes = 5;
const lengthDelimited = 2;

/** A framed HealthCheckRequest. `service` has at most 16,383 bytes. */
export function healthRequest(service: string): Buffer {
  const name = Buffer.from(service);
  const length = name.length < 0x80 ? [name.length] : [(name.length & 0x7f) | 0x80, name.length >> 7];
  // A default value is left out.
  const message =
    name.length === 0 ? name : Buffer.concat([Buffer.from([(1 << 3) | lengthDelimited, ...length]), name]);
  const prefix = Buffer.alloc(prefixBytes);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

const statuses = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'] as const;
export type HealthStatus = (typeof statuses)[number];

/** The status of a framed HealthCheckResponse; undefined when the bytes are anything else. */
export function healthStatus(frame: Buffer): HealthStatus | undefined {
  if (frame.length < prefixBytes || frame[0] !== 0) return undefined;
  if (frame.readUInt32BE(1) !== frame.length - prefixBytes) return undefined;
  let rest: Buffer = frame.subarray(prefixBytes);
  let status = 0;
  while (rest.length > 0) {
    const tag = readVarint(rest);
    const field = tag && skipField(tag.value & 7, rest.subarray(tag.bytes));
    if (tag === undefined || field === undefined) return undefined;
    if (tag.value >> 3 === 1 && field.varint !== undefined) status = field.varint;
    rest = field.rest;
  }
  return statuses[status] ?? 'UNKNOWN';
}

interface Field {
  readonly rest: Buffer;
  /** Of a field of that kind. */
  readonly varint?: number;
}

/** What follows a field of a wire type; unknown fields are allowed. */
function skipField(wireType: number, bytes: Buffer): Field | undefined {
  const fixed = (size: number) => (bytes.length < size ? undefined : { rest: bytes.subarray(size) });
  if (wireType === 1) return fixed(8);
  if (wireType === 5) return fixed(4);
  const varint = readVarint(bytes);
  if (varint === undefined) return undefined;
  if (wireType === 0) return { rest: bytes.subarray(varint.bytes), varint: varint.value };
  return wireType === lengthDelimited ? fixed(varint.bytes + varint.value) : undefined;
}

/** At most four bytes of it: nothing here is larger, and the rest would not fit into a bit operation. */
function readVarint(bytes: Buffer): { readonly value: number; readonly bytes: number } | undefined {
  let value = 0;
  for (let i = 0; i < 4; i++) {
    const byte = bytes[i];
    if (byte === undefined) return undefined;
    value |= (byte & 0x7f) << (7 * i);
    if (byte < 0x80) return { value, bytes: i + 1 };
  }
  return undefined;
}
