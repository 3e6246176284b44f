"""Where what is answered."""

from django.urls import path
from shop import views

urlpatterns = [
    path("reports", views.order),
    path("reports/<str:result_id>", views.status, name="status"),
]
