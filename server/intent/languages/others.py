"""The languages whose patterns need other means than those of western Europe: Slavic ones, those that write without
spaces or put the verb last, and those whose letters are no ASCII. Data as in `server.intent.languages.european`."""

from __future__ import annotations

from server.intent.languages.european import Language

_KARTINKA = (
    r"изображени[еяи]|картин(?:ка|ку|ки|а|у)|рисун(?:ок|ка|ки)|фото(?:графи[юяи])?|иллюстраци[юяи]|портрет|логотип"
)
RUSSIAN = Language(
    polite=(
        r"(?:пожалуйста|привет|здравствуй(?:те)?|а|и|ну|потом|теперь|(?:ты |вы )?(?:можешь|можете)(?: ли)?(?: ты| вы)?|"
        r"(?:не )?мог(?:ла|ли)? бы(?: ты| вы)?|(?:я )?хочу,? чтобы ты)\b",
    ),
    draws=(
        r"^(?:мне )?(?:нарису(?:й|йте)|рису(?:й|йте)|нарисовать|нарисовал|изобраз(?:и|ите|ить)|набросай|проиллюстрируй)"
        r"(?:-ка)?(?:\sмне)?\b[\s:,]+(?!ничего)\S",
        rf"^(?:созда(?:й|йте|ть)|сгенерир(?:уй|уйте|овать)|сдела(?:й|йте|ть)|покажи|дай|(?:я )?хочу)"
        rf"(?:,?\s(?!(?:эт\w+|описани\w+|для|как|на|к)\b)\w+){{0,4}}?,?\s(?:{_KARTINKA})\b",
    ),
    phrases=(rf"^(?:\w+\s)?(?:{_KARTINKA})\s(?!(?:на|показывает|это)\b)\w",),
    asks=(
        r"^(?:что|кто|где|когда|почему|зачем|как\w*|чей|чья|сколько|есть|это|опиши|расскажи|объясни|назови|скажи|переведи)\b",
    ),
    forbids=(
        r"\bне\s(?:надо\s|нужно\s)?(?:рису(?:й|йте|я)|рисовать|изображай|создавай|генерируй)",
        r"\b(?:без|никаких) (?:рисунков|картинок|изображений)",
    ),
    refers=(r"\b(?:эт[оауи]\w*|на (?:картинке|фото|изображении|рисунке))\b",),
    shows=(
        r"\b(?:на (?:этой |этом )?(?:картинке|фото|изображении|рисунке)|эт\w+ (?:картинк|фото|изображени|рисун)\w*)",
    ),
    edits=(r"^(?:отредактируй|измени|убери|удали|замени|перекрась|перерисуй)(?:те)?\s(?!текст|слов|фраз)\S",),
)
UKRAINIAN = Language(
    polite=(r"(?:будь ласка|привіт|(?:чи )?(?:можеш|можете|міг би|могла б)(?: ти| ви)?)\b",),
    draws=(
        r"^(?:мені )?(?:намалю(?:й|йте|вати)|малю(?:й|йте)|зобраз(?:и|іть|ити))\b[\s:,]+(?!нічого)\S",
        r"^(?:створи|згенеруй|зроби)\s(?:\w+\s){0,3}?(?:зображення|картинку|малюнок|фото)\b",
    ),
    phrases=(r"^(?:зображення|картинка|малюнок|фото) \w",),
    asks=(r"^(?:що|хто|де|коли|чому|як\w*|скільки|чи|опиши|поясни|розкажи)\b",),
    forbids=(r"\bне (?:треба )?(?:малю(?:й|йте)|малювати|зображуй)",),
    refers=(r"\b(?:ц[еяюі]\w*|на (?:картинці|фото|зображенні))\b",),
)
POLISH = Language(
    polite=(r"(?:prosze|czesc|(?:czy )?(?:mozesz|moglbys|mogłbys|mogłabys|moze pan|moze pani)(?: mi)?)\b",),
    draws=(
        r"^(?:mi )?(?:narysu(?:j|jcie)|namalu(?:j|jcie)|naszkicuj|narysowac|namalowac)\b[\s:,]+(?!nic)\S",
        r"^(?:wygeneruj|wygenerowac|stworz|stworzyc|zrob|zrobic|pokaz)\s(?:mi\s)?(?:\w+\s){0,3}?"
        r"(?:obraz|obrazek|zdjecie|rysunek|ilustracje|portret)\b",
    ),
    phrases=(r"^(?:obraz|obrazek|zdjecie|rysunek|ilustracja) (?!na\b|jest\b|przedstawia\b)\w",),
    asks=(r"^(?:co|kto|gdzie|kiedy|dlaczego|jak\w*|ile|czy|ktor\w+|opisz|wyjasnij|powiedz)\b",),
    forbids=(r"\bnie (?:rysuj|maluj|szkicuj)",),
    refers=(r"\b(?:t[eao]n?|ten|tym|na (?:obrazku|zdjeciu|obrazie))\b",),
)
TURKISH = Language(
    polite=(r"(?:lutfen|merhaba)\b",),
    draws=(
        r"^(?!.*\b(?:nasıl|nasil|ne|neden|kim)\b).+\b(?:ciz|cizin|ciziniz|cizer misin\w*|cizebilir misin\w*)\b",
        r"\b(?:resmi|resim|gorsel|fotograf)\w*\s(?:olustur|uret|yap)(?:un|in|ur musun\w*)?\b",
    ),
    phrases=(r"\b(?:resmi|fotografı|fotografi|cizimi)$",),
    asks=(r"\b(?:nedir|nerede|neden|nasıl|nasil|kac tane|kimdir|hangi)\b",),
    forbids=(r"\bcizme(?:yin)?\b",),
    refers=(r"\b(?:bu|su)\s(?:resim|resmi|fotograf)\w*",),
)
INDONESIAN = Language(
    polite=(r"(?:tolong|mohon|halo|bisakah (?:kamu|anda)|bisa)\b",),
    draws=(
        r"^(?:gambarkan|gambarlah|lukiskan|lukislah|gambar|lukis)\s(?!(?:apa|ini|itu|di|yang|tersebut)\b)\S",
        r"^(?:buat|buatkan|buatlah|hasilkan)\s(?:\w+\s){0,3}?(?:gambar|foto|ilustrasi|lukisan)\b(?!\s(?:ini|itu)\b)",
    ),
    asks=(r"^(?:apa|apakah|siapa|di mana|kapan|mengapa|kenapa|bagaimana|berapa|jelaskan|sebutkan)\b",),
    forbids=(r"\bjangan (?:meng)?(?:gambar|lukis|melukis)",),
    refers=(r"\b(?:gambar|foto) (?:ini|itu)\b",),
)
VIETNAMESE = Language(
    draws=(
        r"^(?:hay |xin |vui long |lam on |ban co the |giup toi )+ve\s\S",
        r"^ve\s(?:cho toi|mot|con|hai|ba|buc)\b",
        r"^(?:hay |xin )*tao\s(?:\w+\s){0,2}?(?:hinh|anh|buc tranh)\b",
    ),
    asks=(r"\b(?:la gi|o đau|bao nhieu|tai sao|the nao|nhu the nao|cai gi|ai la)\b",),
    forbids=(r"\b(?:đung|khong|khong can) ve\b",),
    refers=(r"\b(?:nay|trong (?:hinh|anh))\b",),
)

_TU = (
    r"图片|圖片|图像|圖像|图画|圖畫|照片|插画|插畫|海报|海報|油画|素描|头像|壁纸|"
    r"画(?!面)|畫(?!面)|图(?!表|书)|圖(?!表|書)"
)
CHINESE = Language(
    draws=(
        r"^(?:请|請|麻烦|你|能不能|能|可以|可不可以|可否|帮|幫|我|给|給|替|为|為|想让|要|再|来|然后|然後|接着|就|现在|\s)*"
        r"(?:画|畫|绘制|繪製|描绘|描繪)(?!面|家|中|里|裡|的|上|作|廊|框|质|质|風|风|什|法)\S",
        r"^(?:请|請|麻烦|你|能不能|能|可以|可不可以|帮|幫|给|給|替|为|為|我|想要|要|\s)*"
        r"(?:生成|创建|創建|创作|創作|制作|製作|做|设计|設計|想要|来一|要一)(?!.{0,16}(?:描述|标题|標題|列表|分类|分類|什么|什麼))"
        rf".{{0,30}}?(?:{_TU})",
    ),
    phrases=(rf"^(?:一|两|兩)?(?:张|張|幅|个|個)?(?!这|這|那).{{1,40}}的(?:{_TU})$",),
    asks=(
        r"什么|什麼|谁|誰|哪|为何|為何|怎么|怎麼|怎样|怎樣|如何|多少|几(?:个|只|种)|幾|吗|嗎|是否|是不是|有没有|有沒有",
        r"^(?:请|請)?(?:描述|解释|解釋|告诉|告訴|说明|說明|翻译|数一数)",
    ),
    forbids=(r"(?:不要|别|別|不用|不必|无需|無需|勿|禁止|不许)(?:给我|給我|再)?(?:画|畫|绘|繪|生成)",),
    refers=(r"这|這|那张|那張|图中|圖中|图里|圖裡|上图|原图|它|图片中|照片中",),
    shows=(r"(?:这|這|那)(?:张|張|幅)|图中|圖中|图里|圖裡|上图|原图|图片中|照片中|图片里|照片里",),
    edits=(
        r"^[请請]?(?:把|将|將).{1,16}(?:改成|改为|改為|变成|變成|换成|換成|涂成|去掉|删掉|刪掉|移除)",
        r"^[请請]?(?:编辑|編輯|修改|去掉|移除|重画|重畫)(?!文字|句)",
    ),
)

_WHAT_JA = r"何を|何が|なに|どこ|誰|なぜ|どうやって|どうして|どうすれば|教えて|方法|描き方"
JAPANESE = Language(
    draws=(
        rf"^(?!.*(?:{_WHAT_JA})).*(?:描いて|画いて|絵をかいて|絵を書いて|イラストをかいて)(?!い|る|あ|な|も[いよ])",
        rf"^(?!.*(?:{_WHAT_JA})).*(?:描け|描きなさい)(?:$|[。.!])",
        rf"^(?!.*(?:{_WHAT_JA})).*(?:画像|絵|イラスト|写真|ロゴ)を(?:生成|作成|作って|作り|つくって|ください|お願い|見せて)",
    ),
    phrases=(r"^(?!この|その|あの).+の(?:絵|画像|イラスト|写真)(?:を)?$",),
    asks=(
        r"何|なに|なんで|どこ|誰|だれ|いつ|なぜ|どうして|どうやって|どんな|いくつ|いくら|どれ|どの|教えて|説明し|ですか|ますか|"
        r"でしょうか|とは$",
    ),
    forbids=(r"(?:描か|書か|生成し|作ら)ない(?!と)|(?:絵|画像)は(?:不要|いらない|要らない)",),
    refers=(r"この|これ|その|それ|あの|添付|上の",),
    shows=(r"(?:この|その|あの|添付の?|上の)(?:画像|写真|絵|イラスト)",),
    edits=(r"(?:編集|加工)して|を(?:消して|取り除いて|削除して)|に(?:変えて|変更して|塗り替えて)",),
)

_WHAT_KO = r"무엇|뭐|뭘|무슨|어떻게|왜|어디|누가|누구|방법|언제"
_GEURIM = r"그림|이미지|사진|일러스트|초상화|로고"
KOREAN = Language(
    draws=(
        rf"^(?!.*(?:{_WHAT_KO})).*(?:그려(?!진|져|지|졌|내|서|넣|놓|있)|그리(?:세요|십시오|시오)|스케치해)",
        rf"^(?!.*(?:{_WHAT_KO})).*(?:{_GEURIM})(?:을|를)?\s*(?:하나\s*|한 장\s*|좀\s*)?(?:생성|만들|그려|보여)(?!지)",
    ),
    phrases=(rf"^(?!이 |저 |그 ).+\s(?:{_GEURIM})$",),
    asks=(rf"{_WHAT_KO}|몇|얼마|어느|나요|가요|인가|습니까|설명|알려",),
    forbids=(r"(?:그리|생성하|만들)지\s*(?:마|말|않)",),
    refers=(rf"(?:^|\s)(?:이|저|그|첨부된?)\s*(?:{_GEURIM})|이것|여기",),
)
ARABIC = Language(
    polite=(r"(?:من فضلك|لو سمحت|رجاء|مرحبا|ثم|هل (?:يمكنك|تستطيع|بإمكانك|يمكن)(?: أن)?|أريدك أن)(?!\w)",),
    draws=(
        r"^(?:[اأ]رسم|[اأ]رسمي|[اأ]رسموا|ترسم|ترسمي|رسم)(?:\s?لي|\s?لنا)?\s+(?!شيئ|أي شي)\S",
        r"^(?:[أا]نشئ|[أا]نشئي|اصنع|ولد|[أا]عطني|[أا]ريد|صمم|اعمل|إنشاء|توليد|[أا]رني)\s+(?:لي\s+)?"
        r"(?:صورة|رسمة|رسما|رسم|لوحة)(?!\w)",
    ),
    phrases=(r"^(?:صورة|رسمة|لوحة)\s+\S",),
    asks=(r"^(?:ما|ماذا|من|[أا]ين|متى|لماذا|كيف|كم|هل|[أا]ي|صف|اشرح|[أا]خبرني)(?!\w)",),
    forbids=(r"(?<!\w)لا (?:ترسم|تصنع|تنشئ)|(?<!\w)ب?دون (?:رسم|صور)",),
    refers=(r"(?<!\w)(?:هذه|هذا|الصورة|تلك)(?!\w)",),
)

_CHITRA = r"चित्र|तस्वीर|पेंटिंग|फोटो|फ़ोटो|स्केच|ड्राइंग|इमेज|छवि"
_WHAT_HI = r"क्या|कैसे|क्यों|कौन|कहाँ|कहां|कब|किस|कितन|तरीका"
HINDI = Language(
    draws=(
        rf"^(?!.*(?:{_WHAT_HI}|मत |बिना )).*(?:{_CHITRA})\S*\s+(?:\S+\s+){{0,3}}?"
        r"(?:बना(?:ओ|इए|इये|एं|एँ|ना|\s)|खींच|जनरेट|दिखा)",
        rf"^क्या (?:आप|तुम)\s.*(?:{_CHITRA})\S*\s+(?:\S+\s+){{0,2}}?बना\s?(?:सकते|सकती|दोगे|देंगे)",
        rf"^(?!.*(?:{_WHAT_HI}|मत )).*(?:ड्रा|ड्रॉ|चित्रित|पेंट) (?:करो|करें|कीजिए|कर दो)",
    ),
    phrases=(rf"(?:का|की|के) (?:एक )?(?:{_CHITRA})$",),
    asks=(rf"{_WHAT_HI}|बताओ|बताइए|समझा",),
    forbids=(rf"(?:मत|न|ना)\s+(?:बना|खींच)|बिना (?:{_CHITRA})",),
    refers=(r"(?:^|\s)(?:इस|यह|ये|उस)\s",),
)

OTHERS = (
    *(RUSSIAN, UKRAINIAN, POLISH, TURKISH, INDONESIAN, VIETNAMESE),
    *(CHINESE, JAPANESE, KOREAN, ARABIC, HINDI),
)
