import { X509Certificate } from 'node:crypto';
import { parseDate } from '../clock.ts';
import { printable } from '../printable.ts';
import type { PresentedCertificate } from '../refusal-facts.ts';
import { readCertificate } from './certificate.ts';

/**
 * What a certificate says, for a log line: as far as it can be read, also when it is refused. Text of strangers is made
 * printable and cut short. Undefined when it is no certificate at all.
 */
export function shownCertificate(der: Uint8Array): PresentedCertificate | undefined {
  try {
    const x509 = new X509Certificate(der);
    // What follows or hides another certificate is not what was presented.
    if (!x509.raw.equals(der)) return undefined;
    return {
      ids: urisOf(der),
      serial: x509.serialNumber,
      issuer: printable(x509.issuer),
      notBeforeMs: parseDate(x509.validFrom),
      notAfterMs: parseDate(x509.validTo),
    };
  } catch {
    return undefined;
  }
}

/** From strict DER alone: the strings that Node.js makes of names can be made to look like anything. */
function urisOf(der: Uint8Array): readonly string[] {
  try {
    return readCertificate(der).uris.map(ascii);
  } catch {
    return [];
  }
}

/** A SPIFFE ID has nothing else; what looks like its letters and is not does not pass for them. */
function ascii(uri: string): string {
  return printable(uri.replaceAll(/[^\x20-\x7e]/g, '\uFFFD'));
}
