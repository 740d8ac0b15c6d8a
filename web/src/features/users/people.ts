/** Roles, least first, each with what it allows. */
export const roles: { value: string; title: string; consequence: string }[] = [
  { value: 'viewer', title: 'Viewer', consequence: 'Sees everything, changes nothing.' },
  { value: 'auditor', title: 'Auditor', consequence: 'Sees everything, exports and checks the audit.' },
  { value: 'operator', title: 'Operator', consequence: 'Planned promotions, backups, resync, maintenance.' },
  { value: 'approver', title: 'Approver', consequence: 'Sees everything, agrees to what others ask for.' },
  { value: 'admin', title: 'Administrator', consequence: 'Everything: forced promotions, deleting, policy, people.' },
];

export function roleTitle(role: string): string {
  return roles.find((r) => r.value === role)?.title ?? role;
}
