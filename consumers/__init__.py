"""From a message to a finding.

``inputs`` hand over messages; ``pipeline`` decodes, sorts and judges their sign-ins; ``enrichment``
knows or looks up their addresses, with what ``sources`` say; ``ledger`` survives a restart.
``service`` runs beside the stream, ``settings`` say how, ``wiring`` joins everything, ``commands``
are what people call.
"""
