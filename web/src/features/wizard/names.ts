/** Longest name of a cluster or node. */
const maxName = 40;

/** Why a name is not one for a cluster or node; null when it is. Letters of other alphabets that look like these are refused. */
export function whyNotName(name: string): string | null {
  if (name === '') return 'Give it a name.';
  if (name.length > maxName) return `A name has at most ${maxName} characters.`;
  if (/[^\x20-\x7e]/.test(name)) return 'Only a–z, 0–9 and “-”: letters of other alphabets look alike and are not the same.';
  if (!/^[a-z][a-z0-9-]*$/.test(name)) return 'A name starts with a letter and holds only a–z, 0–9 and “-”.';
  if (name.endsWith('-')) return 'A name does not end with “-”.';
  return null;
}

/** Why a list of networks cannot be used; null when it can. One CIDR each, such as 10.0.0.0/8. */
export function whyNotCidrs(cidrs: readonly string[]): string | null {
  for (const c of cidrs) {
    const v4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(c);
    if (v4) {
      if (v4.slice(1, 5).some((n) => Number(n) > 255) || Number(v4[5]) > 32) return `${c} is not a network.`;
    } else if (!/^[0-9a-fA-F:]+\/\d{1,3}$/.test(c) || !c.includes(':') || Number(c.split('/')[1]) > 128) {
      return `${c} is not a network; write it as 10.0.0.0/8 or fd00::/8.`;
    }
  }
  return null;
}

/** Lines or commas to a list. */
export function splitList(text: string): string[] {
  return text.split(/[\s,]+/).filter((x) => x !== '');
}
