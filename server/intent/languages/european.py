"""How people ask for pictures, ask questions and forbid pictures, language by language. It is data: patterns over text
as `server.intent.classify` normalises it (lower case, no accents, quotations blanked), without any rule of what
follows.

A pattern that begins with `^` is tried where a clause begins, politeness taken off; the others may match anywhere in
it, as languages need that put the verb last. A pattern that could take a question for a wish carries its own guard.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Language:
    """Alternatives of regular expressions.

    Attributes:
        polite: what may stand before a wish, and is taken off.
        draws: wishes for a picture.
        phrases: a picture is named and nothing else is said.
        asks: questions, and wishes for an answer in words.
        forbids: no picture is wanted.
        refers: the picture that was given is spoken of.
        shows: likewise, and it is called a picture.
        edits: wishes to have the picture that was given changed, or drawn anew with a change.
    """

    polite: tuple[str, ...] = ()
    draws: tuple[str, ...]
    phrases: tuple[str, ...] = ()
    asks: tuple[str, ...]
    forbids: tuple[str, ...]
    refers: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    edits: tuple[str, ...] = ()


def _make(verbs: str, nouns: str, *, but: str, then: str) -> str:
    """ "Make … a picture …": a few words may stand between, none of them one of `but`; `then` may follow."""
    return (
        rf"^(?:{verbs})(?:[\s'-]+(?!(?:{but})\b)\w+,?){{0,7}}?[\s'-]+(?:{nouns})\b"
        rf"(?=\s*(?:$|[.,;:!?)]|(?:{then})\b))"
    )


def _phrase(articles: str, nouns: str, then: str) -> str:
    """ "A … picture of": an article, a few words, the picture, and what joins it to its subject."""
    return rf"^(?:{articles})[\s'](?:[\w-]+\s){{0,4}}?(?:{nouns})(?:\s\w+)?\s(?:{then})"


_PICTURES = (
    r"images?|pictures?|pics?|photos?|photographs?|drawings?|paintings?|illustrations?|sketch(?:es)?|portraits?|"
    r"artworks?|wallpapers?|posters?|logos?|icons?|cartoons?|watercolou?rs?"
)
# What is drawn without a picture: conclusions, lots, attention, ...
_NO_PICTURE = (
    r"up|on|upon|from|out|near|back|blood|attention|lots|conclusions?|inferences?|parallels?|comparisons?|inspiration|"
    r"how|why|what|whether|that|your|nothing|no|or|and|"
    r"the (?:curtains?|line|difference|concept|point|blinds)|"
    r"(?:an?|any|some|the) (?:conclusions?|distinctions?|comparisons?|parallels?|cards?|blank|inferences?|line between|"
    r"proof|plan|argument|salary|breath)"
)
# What is made of a picture in words is an answer, not a change of it.
_IN_WORDS = (
    r"(?!.*\b(?:numbers?|values?|words?|text|letters?|prices?|amounts?|lists?|tables?|json|sentences?|captions?|titles?|"
    r"stor(?:y|ies)|poems?|summar(?:y|ies)|descriptions?|prompts?|latex|markdown|html|csv|code|categor(?:y|ies)|answers?|"
    r"questions?|subject|topic|short|shorter|brief|simple|clear|sense|up|together)\b)"
)
_THIS = r"(?:this|that|these|those|it|him|her|them)"
_NOT = r"(?:do ?n'?t|do not|never|without|no need to|stop|instead of|not)"

ENGLISH = Language(
    polite=(
        r"(?:please|kindly|hey|hi|hello|ok|okay|now|just|then|so|also|but|and|sorry|thanks|"
        r"would you mind|(?:can|could|would|will) (?:you|u)|(?:i'?d|i would) like you to|i (?:want|need) you to|"
        r"(?:you (?:should|must)|try to|go ahead and))\b",
    ),
    draws=(
        rf"^(?:re-?)?(?:draw|paint|sketch|doodle|depict|illustrate)(?:ing)?\b[\s:,]+(?!(?:{_NO_PICTURE})\b)\S",
        r"^/imagine\b",
        _make(
            r"generate|generating|create|creating|make|making|produce|give|show|send|design|render|"
            r"i (?:want|need)|i'?d (?:like|love)|i would (?:like|love)",
            _PICTURES,
            but=r"the|this|that|these|those|your|for|of|about|from|in|with|to|how|what|which|caption|description|not|no",
            then=r"of|showing|with|depicting|in|on|at|where|that|which|for|from|based|please|like|using|about|and|now|by|"
            r"featuring",
        ),
    ),
    phrases=(
        _phrase(r"an?|one|two|three|four|some|another", _PICTURES, r"(?:of|showing|depicting)\b"),
        rf"^(?:(?:oil|digital|detailed|realistic|photorealistic|pencil|cute|beautiful|simple|3d|pixel)\s)?"
        rf"(?:{_PICTURES})\s(?:of|showing|depicting)\b",
    ),
    asks=(
        r"^(?:what|which|who|whom|whose|where|when|why|how|is|are|was|were|am|do|does|did|has|have|had|can|could|would|"
        r"will|should|shall|may|might|tell|explain|describe|count|name|list|identify|read|compare|caption|summari[sz]e|"
        r"translate|answer|teach)(?:'s|'re|'d)?\b(?!\snot\b)",
    ),
    forbids=(
        rf"\b{_NOT}\s(?:\w+\s)?(?:draw|paint|sketch|doodl|illustrat)\w*",
        rf"\b{_NOT}\s(?:\w+\s)?(?:generat|creat|mak|render|produc|show)\w*\s(?:\w+\s){{0,4}}?(?:{_PICTURES})\b",
        rf"\bno\s(?:{_PICTURES})\b",
        r"\bdraw nothing\b",
    ),
    refers=(
        rf"\b(?:this|that|these|those|it|its|here|attached|uploaded|original|same|above|(?:the|my)\s(?:{_PICTURES}))\b",
    ),
    shows=(
        rf"\b(?:the|this|that|these|those|my|attached|uploaded|above|following|given)\s(?:\w+\s)?(?:{_PICTURES})\b",
    ),
    edits=(
        r"^(?:photo)?(?:edit|modify|retouch|recolou?r|colou?ri[sz]e|inpaint|outpaint|photoshop|restyle|upscale|crop|rotate|"
        r"flip|mirror|resize|brighten|darken|sharpen|blur|redraw|repaint)\b",
        rf"^(?:remove|erase|delete|replace|swap|add|insert|put|place|move)\s(?:the|my|all|another|an?|one|two|more|some|"
        rf"everything|{_THIS})\b{_IN_WORDS}",
        rf"^(?:remove|erase|delete|add|insert|put|place|write)\s.*\b(?:from|in|into|to|on|onto)\s(?:the|this|my)\s"
        rf"(?:{_PICTURES})\b",
        rf"^(?:make|turn|paint|colou?r|change|alter|adjust)\s(?:the|my|all|everything|its|his|{_THIS})\s{_IN_WORDS}",
        rf"^(?:transform|convert|restore|enhance|improve|extend|expand|fix|clean)\s(?:the|this|my)\s(?:\w+\s){{0,2}}?"
        rf"(?:{_PICTURES})\b{_IN_WORDS}",
        rf"^(?:draw|paint|sketch|illustrate|depict|render)\s(?:me\s)?(?:{_THIS}\b(?!\s*:)|(?:exactly\s)?the same\b)",
        rf"^(?:draw|paint|sketch|generate|create|make|produce|render|give|show)\s(?:me\s)?(?:\w+\s){{0,2}}?"
        rf"(?:variations?|variants?|versions?|cop(?:y|ies))\s(?:of|where|with|without|but)\s(?:the|my|{_THIS})\b",
    ),
)

_BILD = r"bild(?:er)?|foto(?:s)?|zeichnung(?:en)?|gemalde|illustration(?:en)?|skizze|portrat|aquarell|logo"
_EIN = r"ein\w{0,2}|zwei|drei|vier|funf|das|die|den|der|etwas|folgendes"
GERMAN = Language(
    polite=(
        r"(?:bitte|hallo|und|nun|jetzt|dann|mal|(?:kannst|konntest|wurdest|willst|magst) du|"
        r"(?:konnen|konnten|wurden) sie)\b",
    ),
    draws=(
        r"^(?:zeichne|zeichnet|zeichnen sie|skizziere|illustriere)\b"
        r"(?!(?:\s\w+){0,2}\s(?:nicht|nichts|kein\w*)\b)[\s:,]+\S",
        rf"^(?:male|mal|malt|malen sie)(?:\s(?:mir|uns|bitte|mal|doch))*\s(?:{_EIN})\b",
        rf"^(?:mir\s|uns\s)?(?:bitte\s)?(?:{_EIN})\s(?!.*\bnicht\b).*\b(?:zeichnen|malen|skizzieren|illustrieren)\b",
        _make(
            r"erstelle?|erzeuge|generiere|mache?|entwirf|zeige?|gib|ich (?:mochte|will|brauche|hatte gerne?)|"
            r"erstellen sie|erzeugen sie|generieren sie",
            _BILD,
            but=r"das|dieses|von|uber|fur|aus|zu|kein\w*|nicht|beschreibung",
            then=r"von|mit|auf|in|das|die|der|fur|eines|einer|vom|und|wo",
        ),
        rf"^(?:mir\s|uns\s)?(?:ein\w{{0,2}})\s(?:\w+\s){{0,3}}?(?:{_BILD})\b.*\b(?:erstellen|erzeugen|generieren|machen)\b",
    ),
    phrases=(_phrase(r"eine?|zwei", _BILD, r"(?:von|mit|vom|eines|einer)\b"),),
    asks=(
        r"^(?:was|wer|wen|wem|wie|wo|woher|wohin|warum|wieso|weshalb|wann|welche\w?|ist|sind|hat|haben|gibt|kann|darf|"
        r"soll|erklare?|beschreibe?|nenne?|zahle?|sage?|erzahle?|ubersetze?)\b",
    ),
    forbids=(
        r"\b(?:zeichne|zeichnen|male|mal|malen|skizziere)\s(?:\w+\s){0,3}?(?:nicht|nichts|kein\w*)\b",
        r"\b(?:nicht|nichts|ohne zu)\s(?:zeichnen|malen)\b",
        rf"\bkein\w*\s(?:{_BILD})\b",
    ),
    refers=(r"\b(?:dies\w*|das (?:bild|foto)|im bild|auf dem (?:bild|foto))\b",),
    shows=(rf"\b(?:das|dem|im|dies\w*|der|die|mein\w*)\s(?:{_BILD})\b",),
    edits=(
        r"^(?:bearbeite|retuschiere|entferne|losche|ersetze|verandere|andere|schneide|drehe|spiegle|vergroßere|verkleinere)"
        r"\s(?:mir\s)?(?:das|dies\w*|es|den|die|dem|alle\w*)\b(?!.*\b(?:text|satz|wort)\w*\b)",
        r"^mache?\s(?:das|dies\w*|es|den|die)\s(?:\w+\s){0,3}?(?:blau|rot|grun|gelb|schwarz|weiß|heller|dunkler|großer|"
        r"kleiner)\b",
        r"^(?:zeichne|male|mal)\s(?:mir\s)?(?:dies\w*|es|das gleiche|dasselbe)\b(?!\s*:)",
    ),
)

_IMAGE_FR = r"images?|dessins?|photos?|peintures?|illustrations?|portraits?|tableaux?|croquis|logo"
FRENCH = Language(
    polite=(
        r"(?:s'il (?:te|vous) plait|stp|svp|bonjour|salut|et|puis|(?:peux|pourrais|veux)[ -]tu|tu (?:peux|pourrais)|"
        r"(?:pouvez|pourriez|voulez)[ -]vous|vous (?:pouvez|pourriez)|est-ce que tu (?:peux|pourrais)|"
        r"je (?:veux|voudrais|souhaite) que tu)\b",
    ),
    draws=(
        r"^(?:me |m'|nous )?(?:dessine|dessines|dessinez|dessiner|peins|peignez|peindre|esquisse|illustre|illustrez|"
        r"illustrer)(?:-(?:moi|nous))?\b(?!\s(?:pas|rien))[\s:,]+\S",
        _make(
            r"(?:me )?(?:genere|generez|generer|cree|creez|creer|fais|faites|faire|produis|montre|donne|realise)|"
            r"je (?:veux|voudrais)|j'aimerais",
            _IMAGE_FR,
            but=r"la|le|les|l|cette|ce|de|du|sur|pour|comment|aucun|description",
            then=r"de|d|avec|representant|montrant|ou|qui|sur|dans|en|pour|et",
        ),
    ),
    phrases=(_phrase(r"une?|deux|des", _IMAGE_FR, r"(?:de\b|d'|du\b|representant|montrant)"),),
    asks=(
        r"^(?:qu'|(?:que|quoi|quel\w*|qui|quand|pourquoi|comment|combien|est-ce|y a|c'est quoi|a quoi|decris|decrivez|"
        r"explique|dis|raconte|compte|ou (?:est|sont|se|vas?|puis))\b)",
    ),
    forbids=(
        r"\bne\s(?:me\s)?(?:dessin|pein|peign|gener|cre)\w*\s(?:pas|rien|aucun)",
        r"\bne pas (?:dessiner|peindre|generer|creer)",
        r"\bsans (?:dessiner|image|dessin)|\bpas (?:d'image|de dessin)",
    ),
    refers=(r"\b(?:cette|cet|ceci|l'image|la photo|le dessin)\b",),
    shows=(rf"\b(?:l'|(?:la|le|cette|cet|ce|les|ces|mon|ma)\s)(?:{_IMAGE_FR})\b",),
    edits=(
        r"^(?:modifi|retouch|supprim|enlev|effac|remplac|chang|redessin|recadr|recolori)(?:e|ez|er)?\s?"
        r"(?:l'|(?:le|la|les|cette|cet|ce|ces)\s)(?!.*\b(?:texte|phrase|mot)s?\b)",
        r"^(?:dessine|dessinez|peins)[\s-](?:moi\s|le\b|la\b)?(?:la meme|le meme|cette|cet|ceci)\b",
    ),
)

_IMAGE_ES = r"imagen(?:es)?|dibujos?|fotos?|fotografias?|pinturas?|ilustracion(?:es)?|retratos?|cuadros?|logo"
SPANISH = Language(
    polite=(
        r"(?:¿|¡|(?:por favor|hola|y|luego|(?:me )?(?:puedes|podrias|puede|podria|quieres)|quiero que|"
        r"me gustaria que)\b)",
    ),
    draws=(
        r"^(?:me |nos )?(?:dibuj(?:a|e|ad|ar|es)|pint(?:a|e|ad|ar|es)|ilustr(?:a|e|ar)|esboza)(?:me|nos)?\b"
        r"[\s:,]+(?!nada)\S",
        _make(
            r"(?:gener(?:a|e|ar)|cre(?:a|e|ar)|haz|haga|hacer|produce|muestra|da)(?:me)?|quiero|quisiera|necesito",
            _IMAGE_ES,
            but=r"la|el|las|los|esta|este|de|del|para|sobre|como|descripcion|ninguna?",
            then=r"de|del|con|que|donde|en|sobre|para|por|y",
        ),
    ),
    phrases=(_phrase(r"una?|dos|unas|unos", _IMAGE_ES, r"(?:de|del|con)\b"),),
    asks=(
        r"^¿?\s*(?:que|cual|cuales|quien|quienes|donde|cuando|por que|como|cuant[oa]s?|hay|es|son|describe|explica|"
        r"dime|cuenta|nombra|traduce)\b",
    ),
    forbids=(
        r"\bno\s(?:me\s)?(?:dibuj(?:es|e|ar)|pint(?:es|e|ar))\b",
        rf"\bno\s(?:me\s)?(?:generes|crees|hagas)\s(?:\w+\s){{0,2}}?(?:{_IMAGE_ES})\b",
        r"\bsin (?:dibujar|dibujos|imagenes)\b",
    ),
    refers=(r"\b(?:esta|este|esa|ese|esto|la (?:imagen|foto)|el dibujo)\b",),
    shows=(rf"\b(?:la|el|las|los|esta|este|mi)\s(?:{_IMAGE_ES})\b",),
    edits=(
        r"^(?:edita|edite|modifica|modifique|retoca|retoque|elimina|elimine|quita|quite|borra|borre|reemplaza|cambia|cambie|"
        r"recorta|redibuja)\s(?:la|el|las|los|esta|este|lo)\b(?!.*\b(?:texto|frase|palabra)s?\b)",
    ),
)

_IMAGE_IT = r"immagin[ei]|disegn[oi]|foto|fotografi[ae]|dipint[oi]|illustrazion[ei]|ritratt[oi]|quadr[oi]|logo"
ITALIAN = Language(
    polite=(r"(?:per favore|per piacere|ciao|e|poi|(?:mi )?(?:puoi|potresti|vuoi|puo|potrebbe)|vorrei che(?: tu)?)\b",),
    draws=(
        r"^(?:mi |ci )?(?:disegn(?:a|i|ate|are|ar)|diping(?:i|a|ete|ere|er)|illustr(?:a|are))(?:mi|ci)?\b[\s:,]+"
        r"(?!niente|nulla)\S",
        _make(
            r"(?:genera|generare|crea|creare|fai|fare|produci|mostra|da)(?:mi)?|fammi|dammi|vorrei|voglio",
            _IMAGE_IT,
            but=r"la|il|l|lo|le|questa|questo|di|del|della|per|su|come|descrizione|nessun\w*",
            then=r"di|d|con|che|in|dove|per|su|del|della|e",
        ),
    ),
    phrases=(_phrase(r"un|una|uno|due", _IMAGE_IT, r"(?:di|del|della|con)\b|d'"),),
    asks=(
        r"^(?:cosa|che|chi|quale|quali|dov'e|dove|quando|perche|come (?:si|posso|faccio|fai|e|sono|mai|ti|ha|hai|"
        r"disegno|funziona)|quant[oaie]|c'e|ci sono|descrivi|spiega|spiegami|dimmi|conta)\b",
    ),
    forbids=(
        r"\bnon\s(?:mi\s)?(?:disegn|diping)\w+",
        rf"\bnon\s(?:generare|creare|fare)\s(?:\w+\s){{0,2}}?(?:{_IMAGE_IT})\b",
        r"\bsenza (?:disegnare|disegni|immagini)\b",
    ),
    refers=(r"\b(?:questa|questo|quella|quello|l'immagine|la foto|il disegno)\b",),
    shows=(rf"\b(?:l'|(?:la|il|le|gli|i|questa|questo|mia)\s)(?:{_IMAGE_IT})\b",),
    edits=(
        r"^(?:modifica|ritocca|rimuovi|togli|cancella|sostituisci|cambia|ritaglia|ridisegna)\s?"
        r"(?:l'|(?:la|il|lo|le|gli|i|questa|questo)\s)(?!.*\b(?:testo|frase|parol[ae])\b)",
    ),
)

_IMAGE_PT = r"imagem|imagens|desenhos?|fotos?|fotografias?|pinturas?|ilustrac(?:ao|oes)|retratos?|quadros?|logo"
PORTUGUESE = Language(
    polite=(
        r"(?:por favor|ola|oi|e|depois|(?:voce |tu )?(?:pode|podes|poderia|podias|consegue)|(?:quero|gostaria) que)\b",
    ),
    draws=(
        r"^(?:me )?(?:desenh(?:a|e|ar|es|em)|pint(?:a|e|ar|em)|ilustr(?:a|e|ar)|esboce)(?:-me|-nos)?\b"
        r"[\s:,]+(?!nada)\S",
        _make(
            r"(?:me )?(?:gera|gere|gerar|cria|crie|criar|faz|faca|fazer|produza|mostre|de)|quero|queria|preciso de",
            _IMAGE_PT,
            but=r"a|o|as|os|esta|este|de|da|do|para|sobre|como|nenhuma?",
            then=r"de|da|do|com|que|onde|em|para|sobre|por|e",
        ),
    ),
    phrases=(_phrase(r"uma?|duas|dois", _IMAGE_PT, r"(?:de|da|do|com)\b"),),
    asks=(
        r"^(?:o que|que|qual|quais|quem|onde|quando|por que|porque|como|quant[oa]s?|ha|existe|descreva|explique|diga|"
        r"conte|traduza)\b",
    ),
    forbids=(
        r"\bnao\s(?:me\s)?(?:desenh|pint)\w+",
        rf"\bnao\s(?:ger|cri|fac)\w+\s(?:\w+\s){{0,2}}?(?:{_IMAGE_PT})\b",
        r"\bsem (?:desenhar|desenhos|imagens)\b",
    ),
    refers=(r"\b(?:esta|este|essa|esse|isto|isso|a (?:imagem|foto)|o desenho)\b",),
    shows=(rf"\b(?:a|o|as|os|na|no|esta|este|essa|esse|minha)\s(?:{_IMAGE_PT})\b",),
    edits=(
        r"^(?:edite|edita|modifique|modifica|retoque|remova|remove|apague|apaga|substitua|troque|mude|muda|altere|recorte)\s"
        r"(?:a|o|as|os|esta|este|essa|esse)\b(?!.*\b(?:texto|frase|palavra)s?\b)",
    ),
)

_AFBEELDING = r"afbeelding(?:en)?|plaatjes?|tekening(?:en)?|foto|schilderij|illustratie|portret|schets|logo"
DUTCH = Language(
    polite=(
        r"(?:alsjeblieft|alstublieft|hallo|hoi|en|dan|(?:kun|kan|wil|zou) (?:je|jij|u)(?: (?:me|mij|voor mij))?)\b",
    ),
    draws=(
        r"^(?:teken|tekent|schilder|schets|illustreer)(?:\s(?:me|mij|eens|voor mij))*\b"
        r"(?!(?:\s\w+){0,2}\s(?:niet|niets|geen)\b)[\s:,]+\S",
        r"^(?:een|twee|drie|de|het|iets)\s(?!.*\bniet\b).*\b(?:tekenen|schilderen|schetsen)\b",
        _make(
            r"maak|genereer|creeer|geef|toon|produceer|ik wil(?: graag)?",
            _AFBEELDING,
            but=r"de|het|deze|dit|van|over|voor|hoe|geen|beschrijving",
            then=r"van|met|waarop|waarin|in|voor|die|dat|en",
        ),
    ),
    phrases=(_phrase(r"een|twee", _AFBEELDING, r"(?:van|met)\b"),),
    asks=(
        r"^(?:wat|wie|waar|wanneer|waarom|hoe|hoeveel|welke?|is|zijn|heeft|kan|staat|beschrijf|vertel|leg|noem|tel)\b",
    ),
    forbids=(
        r"\b(?:teken|schilder|schets)\s(?:\w+\s){0,2}?(?:niet|niets|geen)\b",
        rf"\bgeen (?:{_AFBEELDING})\b|\bniet (?:tekenen|schilderen)\b",
    ),
    refers=(r"\b(?:deze|dit|die|de (?:afbeelding|foto)|het plaatje)\b",),
    shows=(rf"\b(?:de|het|deze|dit|mijn)\s(?:{_AFBEELDING})\b",),
    edits=(
        r"^(?:bewerk|verwijder|vervang|wijzig|verander|wis|herteken)\s(?:de|het|deze|dit|die)\b"
        r"(?!.*\b(?:tekst|zin|woord)\w*\b)",
    ),
)

LATIN = (ENGLISH, GERMAN, FRENCH, SPANISH, ITALIAN, PORTUGUESE, DUTCH)
