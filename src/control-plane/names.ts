const label = '[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?';
const dnsLabel = new RegExp(`^${label}$`);
const dnsSubdomain = new RegExp(`^${label}(?:\\.${label})*$`);

/** Whether `text` can be the name of a namespace or a Service: a DNS label (RFC 1123), at most 63 characters. */
export function isDnsLabel(text: string): boolean {
  return dnsLabel.test(text);
}

/** Whether `text` can be the name of a pod or a service account: labels joined by dots, at most 253 characters. */
export function isDnsSubdomain(text: string): boolean {
  return text.length <= 253 && dnsSubdomain.test(text);
}
