"""The requests, which only order work and say how it stands."""

from django.http import HttpRequest, JsonResponse
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from shop.tasks import report


@csrf_exempt  # so that a command line may order
@require_POST
def order(request: HttpRequest) -> JsonResponse:
    """Take an order for a report."""
    result = report.enqueue(int(request.GET["pages"]))
    where = reverse("status", args=[result.id])
    return JsonResponse({"id": result.id}, status=202, headers={"Location": where})


def status(_: HttpRequest, result_id: str) -> JsonResponse:
    """Say how an order stands."""
    result = report.get_result(result_id)
    made = result.return_value if result.status == "SUCCESSFUL" else None
    return JsonResponse({"status": result.status, "result": made})
