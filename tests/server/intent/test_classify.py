"""What clients write, in many languages, and the task it is; and that no text has none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.intent import classify as routing
from server.intent.classify import Modality, Route, Unrouted, classify
from server.intent.languages.european import LATIN
from server.intent.languages.others import OTHERS

DRAW, NAMES = routing.ASKS_FOR_PICTURE, routing.NAMES_PICTURE
ASKS, FORBIDS, NOTHING = routing.ASKS_QUESTION, routing.FORBIDS_PICTURE, routing.NOTHING
GENERATE = {DRAW, NAMES, routing.NEW_IMAGE, routing.IMAGE_WANTED, routing.IMAGE_ALLOWED}

ENGLISH = [
    ("draw a red circle", DRAW),
    ("Draw a red circle above a blue square.", DRAW),
    ("Please draw me a sheep!", DRAW),
    ("draw: a house with two windows", DRAW),
    ("Can you draw a cat?", DRAW),
    ("could you please paint a sunset over the sea?", DRAW),
    ("Would you mind drawing a tree for me?", DRAW),
    ("I'd like you to sketch an old bridge", DRAW),
    ("generate an image of a dog in a hat", DRAW),
    ("Generate images of cats", DRAW),
    ("Create a photorealistic picture of Mars", DRAW),
    ("make me a cute little watercolor painting of a fox", DRAW),
    ("show me a picture of a green triangle", DRAW),
    ("I want a picture of two squares.", DRAW),
    ("I would like a portrait of my grandmother, in oil", DRAW),
    ("Illustrate a knight who fights a dragon", DRAW),
    ("Hi! Please, draw a bicycle.", DRAW),
    ("I like cats. Draw one for me.", DRAW),
    ("I like cats, can you draw one?", DRAW),
    ("Think of an animal, then draw it", DRAW),
    ("don't draw a cat, draw a dog", DRAW),
    ("draw a house without painting the door", DRAW),
    ('Draw a sign that says "what is this?"', DRAW),
    ("/imagine prompt: a castle in the clouds", DRAW),
    ("a picture of a cat", NAMES),
    ("A small black and white photo of a lighthouse", NAMES),
    ("oil painting of a ship", NAMES),
    ("how do I draw a circle?", ASKS),
    ("How to draw a horse", ASKS),
    ("Explain how to paint a wall", ASKS),
    ("teach me to draw", ASKS),
    ("what is in the picture?", ASKS),
    ("What colour is the circle?", ASKS),
    ("is it a picture of a cat?", ASKS),
    ("describe the picture of the cat", ASKS),
    ("Write a caption for an image of a beach?", ASKS),
    ("can you see a cat in a picture?", ASKS),
    ("Who can draw a perfect circle, and why?", ASKS),
    ('Translate "draw a cat" into French', ASKS),
    ('What does "generate an image" mean?', ASKS),
    ("don't draw anything, just answer: what is red?", FORBIDS),
    ("Do not generate an image. Write a poem.", FORBIDS),
    ("without drawing, tell me about circles", FORBIDS),
    ("no pictures please", FORBIDS),
    ("I like to draw", NOTHING),
    ("draw a conclusion from these facts", NOTHING),
    ("draw on your knowledge of history", NOTHING),
    ("Create an image classifier in Python", NOTHING),
    ("hello", NOTHING),
    ("", NOTHING),
    ("a red circle above a blue square", NOTHING),
    ("Generate a caption for the image", NOTHING),
]
OTHER_LANGUAGES = [
    ("Zeichne einen roten Kreis", DRAW),
    ("Male mir bitte ein Haus am See", DRAW),
    ("Kannst du mir eine Katze zeichnen?", DRAW),
    ("Erstelle bitte ein Bild von einem Hund", DRAW),
    ("ein kleines Bild von einer Katze", NAMES),
    ("Wie zeichnet man einen Kreis?", ASKS),
    ("Was ist auf dem Bild zu sehen?", ASKS),
    ("Zeichne bitte nichts, antworte nur", FORBIDS),
    ("Dessine-moi un mouton", DRAW),
    ("Peux-tu dessiner un chat ?", DRAW),
    ("Génère une image d'un chien rouge", DRAW),
    ("une image de deux carrés", NAMES),
    ("Comment dessiner un cercle ?", ASKS),
    ("Qu'est-ce qu'il y a sur l'image ?", ASKS),
    ("Ne dessine rien, réponds", FORBIDS),
    ("Dibújame un gato negro", DRAW),
    ("¿Puedes dibujar un círculo azul?", DRAW),
    ("Crea una imagen de una casa", DRAW),
    ("¿Cómo dibujo un círculo?", ASKS),
    ("No dibujes nada, solo responde", FORBIDS),
    ("Disegna un triangolo verde", DRAW),
    ("Potresti disegnarmi un gatto?", DRAW),
    ("Genera un'immagine di un cane", DRAW),
    ("Come si disegna un cerchio?", ASKS),
    ("Desenhe um quadrado vermelho", DRAW),
    ("Você pode desenhar um gato?", DRAW),
    ("Crie uma imagem de um navio", DRAW),
    ("O que há na imagem?", ASKS),
    ("Não desenhe nada", FORBIDS),
    ("Teken een rode cirkel", DRAW),
    ("Kun je een kat tekenen?", DRAW),
    ("Maak een afbeelding van een boot", DRAW),
    ("Hoe teken je een cirkel?", ASKS),
    ("Нарисуй красный круг", DRAW),
    ("Можешь нарисовать кота?", DRAW),
    ("Сгенерируй, пожалуйста, изображение дома", DRAW),
    ("Как нарисовать круг?", ASKS),
    ("Что на картинке?", ASKS),
    ("Не рисуй, просто ответь", FORBIDS),
    ("Намалюй червоне коло", DRAW),
    ("Narysuj czerwone koło", DRAW),
    ("Czy możesz narysować kota?", DRAW),
    ("Bana kırmızı bir daire çiz", DRAW),
    ("Gambarkan seekor kucing", DRAW),
    ("Hãy vẽ một con mèo", DRAW),
    ("画一只猫", DRAW),
    ("请帮我画一个红色的圆", DRAW),
    ("你能画一座房子吗？", DRAW),
    ("生成一张日落的图片", DRAW),
    ("一张小狗的照片", NAMES),
    ("怎么画一个圆？", ASKS),
    ("画面里有什么？", ASKS),
    ("不要画图，只回答", FORBIDS),
    ("猫の絵を描いてください", DRAW),
    ("赤い丸を描いてくれますか？", DRAW),
    ("夕日の画像を生成して", DRAW),
    ("かわいい犬のイラスト", NAMES),
    ("猫の描き方を教えて", ASKS),
    ("この絵に何がありますか？", ASKS),
    ("絵は描かないで、答えてください", FORBIDS),
    ("고양이를 그려줘", DRAW),
    ("빨간 원을 그려 주세요", DRAW),
    ("강아지 그림", NAMES),
    ("원을 어떻게 그려요?", ASKS),
    ("그림을 그리지 마세요", FORBIDS),
    ("ارسم دائرة حمراء", DRAW),
    ("هل يمكنك أن ترسم قطة؟", DRAW),
    ("أنشئ صورة لبيت", DRAW),
    ("ماذا يوجد في الصورة؟", ASKS),
    ("لا ترسم شيئا", FORBIDS),
    ("एक बिल्ली का चित्र बनाओ", DRAW),
    ("क्या आप एक घर का चित्र बना सकते हैं?", DRAW),
    ("चित्र में क्या है?", ASKS),
]


@pytest.mark.parametrize(("text", "reason"), [*ENGLISH, *OTHER_LANGUAGES])
def test_text_alone(text: str, reason: str) -> None:
    assert classify(Unrouted(text=text))[:3] == ("generate" if reason in GENERATE else "vqa", reason, False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("what is this?", routing.IMAGE_GIVEN),
        ("describe", routing.IMAGE_GIVEN),
        ("", routing.IMAGE_GIVEN),
        ("Draw a cat.", routing.NEW_IMAGE),
        ("generate an image of a house, please", routing.NEW_IMAGE),
        ("Zeichne einen Hund", routing.NEW_IMAGE),
        ("画一只猫", routing.NEW_IMAGE),
        ("Draw a cat. What is in the background?", routing.IMAGE_GIVEN),
        ("How would you draw this?", routing.IMAGE_GIVEN),
        ("a picture of a cat", routing.IMAGE_GIVEN),
        ("don't draw, answer", routing.IMAGE_GIVEN),
    ],
)
def test_with_an_image(text: str, reason: str) -> None:
    assert classify(Unrouted(text=text, image=True)) == Route("generate" if reason in GENERATE else "vqa", reason)


EDITS = [
    "draw this with a blue circle",
    "draw the same picture with a green square",
    "draw a cat like this one",
    "draw a frame around the picture",
    "make the circle blue",
    "Can you make it darker?",
    "please remove the circle",
    "edit the image: remove the circle",
    "Here is a photo of mine, change the background to a beach",
    "Replace the square by a triangle.",
    "add a hat to the cat",
    "Turn this photo into a watercolour",
    "write my name on the picture",
    "redraw it in blue",
    "Generate three variations of this",
    "rotate by 90 degrees",
    "Zeichne dieses Bild neu",
    "Entferne den Kreis",
    "Mach den Kreis blau",
    "Supprime le cercle",
    "Elimina el círculo",
    "Rimuovi il cerchio",
    "Remova o círculo",
    "Verwijder de cirkel",
    "Убери круг",
    "把圆改成蓝色",
    "円を青に変えて",
]
# Wishes for words about a picture, however they begin.
NO_EDITS = [
    "make a list of what you see",
    "Add the numbers in this table",
    "turn this into a poem",
    "convert the table in the picture to markdown",
    "Put it into words",
    "change the sentence to the past tense",
    "What would change if the circle were blue?",
    "Can you tell me whether to remove the circle?",
    "describe how to edit it",
    "What colour is it? Make it short.",
    "fix the grammar in this text",
    "Ersetze die Wörter durch andere",
]


@pytest.mark.parametrize("text", EDITS)
def test_wishes_to_change_a_picture(text: str) -> None:
    refused = Route("generate", routing.EDITS_IMAGE, refused=True)
    assert classify(Unrouted(text=text, image=True)) == refused
    assert classify(Unrouted(text=text, image=True, modalities=["image", "text"])) == refused
    assert not classify(Unrouted(text=text)).refused
    answered = classify(Unrouted(text=text, image=True, modalities=["text"]))
    assert answered == Route("vqa", routing.TEXT_WANTED)


@pytest.mark.parametrize("text", ["make the circle blue", "redraw it in blue", "Entferne den Kreis"])
def test_wishes_to_change_a_picture_whatever_was_named(text: str) -> None:
    refused = Route("generate", routing.EDITS_IMAGE, refused=True)
    assert classify(Unrouted(text=text, image=True, task="generate")) == refused
    assert classify(Unrouted(text=text, image=True, modalities=["image"])) == refused
    assert classify(Unrouted(text=text, earlier=True)) == refused
    assert classify(Unrouted(text=text, image=True, task="vqa")) == Route("vqa", routing.TASK_NAMED)


@pytest.mark.parametrize("text", NO_EDITS)
def test_wishes_for_words_change_no_picture(text: str) -> None:
    assert classify(Unrouted(text=text, image=True)) == Route("vqa", routing.IMAGE_GIVEN)
    assert classify(Unrouted(text=text, earlier=True)) == Route("vqa", routing.IMAGE_GIVEN)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("what colour is the square?", routing.IMAGE_GIVEN),
        ("and now?", routing.IMAGE_GIVEN),
        ("draw a house that has two windows", DRAW),
        ("Draw a cat and put a hat on it", DRAW),
        ("a picture of a cat", NAMES),
    ],
)
def test_with_an_image_in_an_earlier_turn(text: str, reason: str) -> None:
    assert classify(Unrouted(text=text, earlier=True)) == Route("generate" if reason in GENERATE else "vqa", reason)


@pytest.mark.parametrize(
    ("text", "speaks"),
    [
        ("what is in the picture?", True),
        ("Was ist auf dem Bild zu sehen?", True),
        ("图中有什么?", True),
        ("what colour is it?", False),
        ("what is a picture?", False),
        ("draw the picture of a cat", False),
    ],
)
def test_a_text_may_speak_of_a_picture_that_is_not_there(text: str, speaks: bool) -> None:
    assert classify(Unrouted(text=text)).no_image is speaks
    assert not classify(Unrouted(text=text, image=True)).no_image
    assert not classify(Unrouted(text=text, earlier=True)).no_image


@pytest.mark.parametrize(
    ("text", "modalities", "reason"),
    [
        ("a red circle", ["image"], routing.IMAGE_WANTED),
        ("what is red?", ["image"], routing.IMAGE_WANTED),
        ("draw a cat", ["text"], routing.TEXT_WANTED),
        ("a red circle", ["text", "image"], routing.IMAGE_ALLOWED),
        ("draw a red circle", ["image", "text"], DRAW),
        ("what is red?", ["image", "text"], ASKS),
        ("no pictures please", ["image", "text"], FORBIDS),
    ],
)
def test_modalities(text: str, modalities: list[Modality], reason: str) -> None:
    route = classify(Unrouted(text=text, modalities=modalities))
    assert route == Route("generate" if reason in GENERATE else "vqa", reason)


def test_a_named_task_wins() -> None:
    for image in (False, True):
        for text in ("draw a cat", "what is this?"):
            found = classify(Unrouted(text=text, image=image, task="generate", modalities=["text"]))
            assert found == Route("generate", routing.TASK_NAMED)
            assert classify(Unrouted(text=text, image=image, task="vqa", modalities=["image"])).task == "vqa"


def test_a_wish_at_the_end_of_a_long_text_is_seen() -> None:
    assert classify(Unrouted(text="It was a dark night. " * 5_000 + "Draw a lantern.")).task == "generate"


def test_every_language_has_its_cases() -> None:
    assert len(ENGLISH) + len(OTHER_LANGUAGES) >= 60
    for language in (*LATIN, *OTHERS):
        alone = [routing._Patterns(patterns) for patterns in (language.draws, language.asks)]
        texts = [routing._polite(routing._plain(text)) for text, _ in [*ENGLISH, *OTHER_LANGUAGES]]
        assert any(alone[0].search(text) for text in texts)


REASONS = {
    value for name, value in vars(routing).items() if name.isupper() and isinstance(value, str) and name[0] != "_"
}
WORDS = [word for text, _ in [*ENGLISH, *OTHER_LANGUAGES] for word in text.split()] + [
    '"',
    "“",
    "「",
    "?",
    "।",
    "\n",
    "'",
]


@settings(deadline=None, max_examples=300)
@given(
    st.one_of(st.text(), st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join)),
    st.booleans(),
    st.booleans(),
    st.lists(st.sampled_from(["text", "image"]), max_size=3),
)
def test_any_text_has_a_task_and_a_reason(text: str, image: bool, earlier: bool, modalities: list[Modality]) -> None:
    request = Unrouted(text=text, image=image, earlier=earlier, modalities=modalities)
    route = classify(request)
    assert route.task in ("generate", "vqa")
    assert route.reason in REASONS
    assert route.refused == (route.reason == routing.EDITS_IMAGE)
    assert not (route.refused and not (image or earlier))
    assert classify(request) == route
