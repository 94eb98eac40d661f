import pytest
from dashboard_process import serving

from emogg_async.testing import EmoggEmulator


@pytest.fixture(scope="package")
def shared_service():
    """Start one emulator for all dashboards."""
    with EmoggEmulator(sessions=100, rate_limit=(1_000_000, 60.0)) as running:
        yield running


@pytest.fixture
def service(shared_service):
    """Give an emulator with 100 sessions, which the dashboard shows."""
    yield shared_service
    shared_service.reset()


@pytest.fixture
def dashboard(service):
    """Run a dashboard of that account, for one test."""
    with serving(EMOGG_BASE_URL=service.url, EMOGG_API_TOKEN=service.token) as running:
        yield running
