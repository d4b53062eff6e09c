"""Rows without their table, risks of service principals, cloud applications, Google and Duo."""

from __future__ import annotations

from schemas.events.outcomes import Outcome
from tests.recorded import ENTRA_TENANT, V4, WORKSPACE, Expected, Recorded, at

ADA = "ada@example.net"
ROW = {"TenantId": WORKSPACE, "TimeGenerated": "2031-05-06T07:08:09.1234567Z"}
GENERATED = at(7, 8, 9, 123456)
PRINCIPAL_RISK = {
    "id": "p-1",
    "ipAddress": V4,
    "servicePrincipalId": "20000000-0000-4000-8000-00000000000a",
    "servicePrincipalDisplayName": "Backup job",
    "appId": "30000000-0000-4000-8000-00000000000a",
    "activityDateTime": "2031-05-06T07:06:00Z",
    "detectedDateTime": "2031-05-06T07:07:00Z",
    "riskEventType": "suspiciousSignins",
    "riskLevel": "high",
}
USER_RISK = {
    "id": "u-1",
    "ipAddress": V4,
    "userId": "10000000-0000-4000-8000-00000000000a",
    "userPrincipalName": ADA,
    "activityDateTime": "2031-05-06T07:06:00Z",
    "detectedDateTime": "2031-05-06T07:07:00Z",
    "riskEventType": "anonymizedIPAddress",
    "riskLevel": "medium",
}
CLOUD_APP = {
    "Timestamp": "2031-05-06T07:06:00Z",
    "ActionType": "UserLoggedIn",
    "Application": "Microsoft 365",
    "AccountDisplayName": "Ada Example",
    "AccountObjectId": "10000000-0000-4000-8000-00000000000a",
    "IPAddress": V4,
    "IsAnonymousProxy": True,
    "CountryCode": "DE",
    "ReportId": "q-1",
    "RawEventData": {"UserId": ADA, "AppAccessContext": {"AADSessionId": "sid-1"}},
}
GOOGLE = {
    "kind": "admin#reports#activity",
    "id": {
        "time": "2031-05-06T07:06:00.000Z",
        "uniqueQualifier": "358",
        "applicationName": "login",
    },
    "actor": {"email": ADA, "profileId": "1078"},
    "ipAddress": V4,
    "events": [
        {
            "type": "login",
            "name": "login_failure",
            "parameters": [
                {"name": "login_type", "value": "google_password"},
                {"name": "login_challenge_method", "multiValue": ["password"]},
                {"name": "login_failure_type", "value": "login_failure_invalid_password"},
            ],
        }
    ],
}
DUO = {
    "access_device": {"ip": V4, "location": {"country": "Germany", "city": "Berlin"}},
    "application": {"key": "DIY1", "name": "VPN"},
    "email": ADA,
    "event_type": "authentication",
    "factor": "duo_push",
    "isotimestamp": "2031-05-06T07:06:00.123456+00:00",
    "timestamp": 1935817560,
    "reason": "user_marked_fraud",
    "result": "fraud",
    "txid": "x-1",
    "user": {"key": "DU1", "name": "ada"},
}

QUERIED = {
    "TimeGenerated": "2031-05-06T07:08:09.1234567Z",
    "ResultType": "50126",
    "IPAddress": V4,
    "TableName": "PrimaryResult",
}

RECORDS = [
    Recorded(
        "D queried row without its table",
        "D",
        "looks:row_interactive",
        {**QUERIED, "UserPrincipalName": ADA, "Id": "l-1"},
        Expected("SigninLogs", ADA, Outcome.FAILURE, "l-1", GENERATED),
    ),
    Recorded(
        "D queried row of a non-interactive sign-in without its table",
        "D",
        "looks:row_non_interactive",
        {**QUERIED, "UserPrincipalName": ADA, "IsInteractive": False, "_ItemId": "l-2"},
        Expected("AADNonInteractiveUserSignInLogs", ADA, Outcome.FAILURE, "l-2", GENERATED),
    ),
    Recorded(
        "D queried row of a service principal without its table",
        "D",
        "looks:row_service_principal",
        {**QUERIED, "ServicePrincipalId": "p", "ServicePrincipalName": "Backup", "Id": "l-3"},
        Expected("AADServicePrincipalSignInLogs", "backup", Outcome.FAILURE, "l-3", GENERATED),
    ),
    Recorded(
        "A risk event of a service principal",
        "A",
        "category:ServicePrincipalRiskEvents",
        {
            "time": "2031-05-06T07:08:09.1234567Z",
            "category": "ServicePrincipalRiskEvents",
            "operationName": "Service Principal Risk Detection",
            "tenantId": ENTRA_TENANT,
            "properties": PRINCIPAL_RISK,
        },
        Expected("AADServicePrincipalRiskEvents", "backup job", Outcome.UNKNOWN, "p-1", at(7, 6)),
    ),
    Recorded(
        "E risk row of a service principal",
        "E",
        "type:AADServicePrincipalRiskEvents",
        {
            **ROW,
            "ActivityDateTime": "2031-05-06T07:06:00Z",
            "IpAddress": V4,
            "ServicePrincipalDisplayName": "Backup job",
            "Id": "p-2",
            "RiskLevel": "high",
            "Type": "AADServicePrincipalRiskEvents",
        },
        Expected("AADServicePrincipalRiskEvents", "backup job", Outcome.UNKNOWN, "p-2", at(7, 6)),
    ),
    Recorded(
        "F Graph risk detection of a service principal",
        "F",
        "looks:graph_principal_risk",
        PRINCIPAL_RISK,
        Expected("AADServicePrincipalRiskEvents", "backup job", Outcome.UNKNOWN, "p-1", at(7, 6)),
    ),
    Recorded(
        "F Graph risk detection",
        "F",
        "looks:graph_user_risk",
        USER_RISK,
        Expected("AADUserRiskEvents", ADA, Outcome.UNKNOWN, "u-1", at(7, 6)),
    ),
    Recorded(
        "I cloud application event",
        "I",
        "category:AdvancedHunting-CloudAppEvents",
        {
            "time": "2031-05-06T07:08:09.1234567Z",
            "tenantId": ENTRA_TENANT,
            "operationName": "Publish",
            "category": "AdvancedHunting-CloudAppEvents",
            "properties": CLOUD_APP,
        },
        Expected("CloudAppEvents", ADA, Outcome.SUCCESS, "q-1", at(7, 6)),
    ),
    Recorded(
        "E cloud application row, raw data as a text",
        "E",
        "type:CloudAppEvents",
        {
            **ROW,
            "ActionType": "UserLoginFailed",
            "AccountDisplayName": "Ada Example",
            "IPAddress": V4,
            "ReportId": "q-2",
            "RawEventData": '{"UserId": "Ada@example.net", "ErrorNumber": "50074"}',
            "Type": "CloudAppEvents",
        },
        Expected("CloudAppEvents", ADA, Outcome.PASSWORD_ACCEPTED, "q-2", GENERATED),
    ),
    Recorded(
        "I cloud application hunting row",
        "I",
        "looks:hunting_cloud_app",
        {**CLOUD_APP, "ActionType": "FileDownloaded", "ReportId": "q-3"},
        Expected("CloudAppEvents", ADA, Outcome.UNKNOWN, "q-3", at(7, 6)),
    ),
    Recorded(
        "K Google Workspace activity",
        "K",
        "looks:google_activity",
        GOOGLE,
        Expected(
            "GWorkspace_ReportsAPI_login_CL",
            ADA,
            Outcome.FAILURE,
            "2031-05-06T07:06:00.000Z:358",
            at(7, 6),
        ),
    ),
    Recorded(
        "E Google Workspace row",
        "E",
        "type:GWorkspace_ReportsAPI_login_CL",
        {
            **ROW,
            "IPAddress": V4,
            "actor_email_s": ADA,
            "event_name_s": "login_success",
            "id_time_t": "2031-05-06T07:06:00Z",
            "id_uniqueQualifier_s": "359",
            "Type": "GWorkspace_ReportsAPI_login_CL",
        },
        Expected(
            "GWorkspace_ReportsAPI_login_CL",
            ADA,
            Outcome.SUCCESS,
            "2031-05-06T07:06:00Z:359",
            at(7, 6),
        ),
    ),
    Recorded(
        "K Duo authentication",
        "K",
        "looks:duo_log",
        DUO,
        Expected(
            "DuoSecurityAuthentication_CL",
            ADA,
            Outcome.PASSWORD_ACCEPTED,
            "x-1",
            at(7, 6, 0, 123456),
        ),
    ),
    Recorded(
        "E Duo row",
        "E",
        "type:DuoSecurityAuthentication_CL",
        {
            **ROW,
            "access_device_ip_s": V4,
            "email_s": ADA,
            "result_s": "denied",
            "isotimestamp_t": "2031-05-06T07:06:00Z",
            "txid_g": "x-2",
            "Type": "DuoSecurityAuthentication_CL",
        },
        Expected("DuoSecurityAuthentication_CL", ADA, Outcome.FAILURE, "x-2", at(7, 6)),
    ),
]
