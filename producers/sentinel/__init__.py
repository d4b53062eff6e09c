"""Indicators for Microsoft Sentinel's threat intelligence."""
