"""Fixed limits of requests, used by middleware, schemas and documentation. Limits that an operator can change are
settings; limits of the engine's requests are in `flashu_core.limits`."""

from __future__ import annotations

# Connections and headers
MAX_HEAD_BYTES = 16 * 1024  # request line and headers together
MAX_HEADERS = 128  # header fields of a request
MAX_SMALL_CHUNKS = 1024  # chunks of a body beyond which their mean size must be at least `MIN_CHUNK_BYTES`
MIN_CHUNK_BYTES = 16  # mean size of the chunks of a body with many of them
MAX_REQUEST_ID_CHARACTERS = 64  # an `X-Request-Id`; a longer one is replaced

# API keys
MIN_KEY_CHARACTERS = 8  # an API key
MAX_KEY_CHARACTERS = 512  # an API key
MAX_KEY_NAME_CHARACTERS = 64  # the name of an API key

# Bodies
MAX_JSON_VALUES = 100_000  # values in a JSON body: ten million small lists would fill the memory
MAX_JSON_MEMBERS = 10_000  # members of all objects in a JSON body: each may become a validation error
MAX_FORM_FIELDS = 32  # fields of a form
MAX_FORM_FIELD_BYTES = 256 * 1024  # one field of a form, except the picture

# Fields
MAX_TEXT_CHARACTERS = 32_768  # a prompt, question or text part: far more than a model's maximum, cheap to tokenize
MAX_PROMPTS = 20  # prompts of a completion request
MAX_MESSAGES = 2048  # messages of a conversation
MAX_PARTS = 64  # parts of a message
MAX_STOP_CHARACTERS = 256  # a stop sequence
MAX_TOOLS = 128  # tools of a request
MAX_NAME_CHARACTERS = 64  # names of policies and types; longer unknown fields and paths get no suggestion
MAX_MODEL_CHARACTERS = 512  # the name of a model
MIN_PRIORITY = -100  # runs first
MAX_PRIORITY = 100  # runs last
MAX_TIMEOUT_S = 3600  # `timeout_s`
MAX_WARNINGS = 16  # warnings in a response; further ones are counted
MAX_WARNING_NAME_CHARACTERS = 96  # the name of a parameter in a warning

# Pictures
MAX_WAITING_IMAGES = 256  # pictures that wait for an image process; half of them of one client
MAX_WAITING_IMAGE_BYTES = 256 * 2**20  # files of these pictures together
MAX_URL_CHARACTERS = 2048  # the URL of a picture, after its scheme
MAX_REDIRECTS = 3  # redirects followed for a picture
MAX_FETCHES = 8  # pictures fetched at the same time; more wait
MAX_FETCH_HEAD_BYTES = 32 * 1024  # headers of the response with a picture
MAX_STORED_IMAGES = 10_000  # generated pictures kept for `response_format: "url"`
STORED_IMAGE_S = 3600  # seconds for which such a picture is kept
