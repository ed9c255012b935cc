"""What a Prefect server is told: `python -m deployments` brings it to what stands here.

`prefect.yaml` has the deployments; `pools`, `notifications` and `automations` have a table each,
where one line adds one; `pools/` holds the work pools' job templates.
"""
