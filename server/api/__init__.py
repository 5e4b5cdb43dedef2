"""The routes, one module per family. Each makes an `APIRouter` from `Services`; the app puts them together."""
