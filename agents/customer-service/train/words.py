"""Values and small words of `generate`. Invented names; example.com is nobody's."""

import re

MONTHS = ("January February March April May June July August September October November December").split()
DAYS = ("monday tuesday wednesday thursday friday saturday sunday Monday Tuesday Wednesday Thursday Friday Saturday "
        "Sunday").split()
NAMES = ("Aino Bruno Celia Dario Edith Finn Greta Hassan Irma Jorge Katja Lars Marta Nils Oscar Paula Rafael Selma "
         "Tomas Ulla Viktor Wanda Yara Zeno Amir Brigid Cemal Dunja Erik Flora Georg Hilda Ismail Janka Karim Lotte "
         "Mehmet Nora Otto Pia Ravi Sofia Tariq Ursula Wilma Ada Ben Carla David Elena Hugo Ines Liam "
         "Mina Noah").split()
SURNAMES = ("Albers Bianchi Cermak Duarte Engel Ferrari Gruber Holm Ilves Jansen Keller Lund Marin Nagy Olsen Prager "
            "Quiroga Ruiz Soto Thorsen Unger Vidal Winter Yates Zander Berg Costa Hansen Kumar Meyer Novak Silva "
            "Tanaka").split()
CITIES = ("Aarhus Basel Cork Delft Evora Florence Graz Helsinki Innsbruck Jena Kiel Leeds Madrid Naples Oslo Prague "
          "Riga Seville Tartu Utrecht Vienna Warsaw York Zagreb Bern Dublin Essen Krakow Lyon Porto").split()
ITEMS = ("lamp", "desk lamp", "kettle", "toaster", "blender", "sofa cover", "rug", "curtain", "mirror", "vase",
         "teapot", "coffee machine", "frying pan", "saucepan", "knife set", "cutting board", "pillow", "duvet",
         "wool blanket", "bath mat", "shower head", "raincoat", "jacket", "jumper", "dress", "pair of jeans", "belt",
         "scarf", "hat", "backpack", "suitcase", "wallet", "watch", "necklace", "pair of boots", "pair of sandals",
         "bike pump", "bike lock", "helmet", "tent", "sleeping bag", "torch", "garden hose", "watering can",
         "plant pot", "parasol", "office chair", "bookcase", "stool", "coat rack", "clock", "photo frame", "puzzle",
         "board game", "doll", "toy train", "football", "yoga mat", "dumbbell", "phone case", "charger", "keyboard",
         "mouse", "speaker", "headset", "webcam", "printer", "drill", "hammer", "toolbox", "ladder", "paint roller",
         "bird feeder", "dog bed", "cat tree", "aquarium", "lunch box", "thermos", "water bottle", "umbrella")

# Relatives and others by sex, so that "his" and "her" stay right. Each may stand where another of its row stood.
KIN = (
    ("grandpa", "grandfather", "grandad", "granddad", "dad", "father", "stepdad", "uncle", "brother", "husband", "son",
     "nephew", "boyfriend", "father-in-law"),
    ("grandma", "grandmother", "granny", "nan", "mum", "mom", "mother", "stepmum", "aunt", "auntie", "sister", "wife",
     "daughter", "niece", "girlfriend", "mother-in-law"),
    ("friend", "colleague", "coworker", "neighbour", "neighbor", "roommate", "flatmate", "cousin", "partner", "boss",
     "buddy", "classmate", "landlord", "client", "tenant"),
)

HELLO = ("hi", "hello", "hey", "hiya", "Hi there", "Hello there", "Hey guys", "good morning", "good afternoon",
         "Good evening", "hi team", "hello team", "hey there", "heya", "hullo", "morning", "evening", "hi all", "yo",
         "hello again", "Hi everyone", "greetings", "hi support", "hello shop")
FORMAL_HELLO = ("Good morning", "Good afternoon", "Good evening", "Good day", "Hello", "Dear team",
                "Dear Sir or Madam", "Dear customer service", "To the customer service team")
OPENERS = ("quick question", "sorry to bother you", "so", "ok so", "well", "um", "excuse me", "listen", "right",
           "just wondering", "one thing", "sorry", "by the way", "please help", "me again", "okay", "look",
           "small question", "hmm", "if I may")
CLOSE = ("thanks", "thank you", "thx", "ty", "cheers", "please", "pls", "thanks in advance", "many thanks",
         "pretty please", "thank you!", "Thanks!", "asap", "asap please", "if you can", "if possible", "xx", ":)",
         "best", "regards", "thanks a lot", "waiting for your reply", "let me know", "hope you can help", "ta",
         "sent from my phone")
FORMAL_CLOSE = ("Thank you.", "Many thanks.", "Kind regards", "Best regards", "Yours faithfully", "Yours sincerely",
                "With thanks", "Thank you in advance.", "With best wishes", "I look forward to your reply.")
GREETS = re.compile(r"(hi|hello|hey|hiya|hullo|good (morning|day|afternoon|evening)|morning|howdy|g'day|yo|dear|salut|"
                    r"bonjour|ey up|oi|heya|to whom)\b", re.IGNORECASE)

# Chat spelling: regular expressions for whole words, and what stands for them.
SHORT_FORMS = (
    ("please", "pls"), ("please", "plz"), ("you", "u"), ("your", "ur"), ("are", "r"), ("thanks", "thx"),
    ("password", "pw"), ("password", "pass"), ("account", "acc"), ("because", "cuz"), ("tomorrow", "tmrw"),
    ("what's", "whats"), ("where's", "wheres"), ("I'm", "im"), ("don't", "dont"), ("can't", "cant"), ("it's", "its"),
    ("hasn't", "hasnt"), ("doesn't", "doesnt"), ("isn't", "isnt"), ("with", "w/"), ("about", "abt"), ("and", "n"),
    ("and", "&"), ("going to", "gonna"), ("want to", "wanna"), ("something", "smth"), ("to", "2"), ("for", "4"),
    ("number", "no"), ("number", "nr"), ("email", "mail"), ("message", "msg"), ("received", "got"), ("though", "tho"),
    ("people", "ppl"), ("before", "b4"), ("see", "c"), ("know", "kno"), ("the", "da"), ("I am", "im"),
)

# What an order can be, and what the manifest's answer adds about it.
STATUSES = (
    ("delivered", " It arrived on {eta}."), ("delayed", " Sorry: it is late, and is now expected on {eta}."),
    ("processing", " It is being packed and is expected on {eta}."),
    ("shipped", " It is on its way and is expected on {eta}."), ("cancelled", ""),
)

# Keys beside each key, for slips of the finger.
KEYS = {
    "q": "wa", "w": "qes", "e": "wrd", "r": "etf", "t": "ryg", "y": "tuh", "u": "yij", "i": "uok", "o": "ipl", "p": "o",
    "a": "qs", "s": "adw", "d": "sfe", "f": "dgr", "g": "fht", "h": "gjy", "j": "hku", "k": "jli", "l": "ko", "z": "xa",
    "x": "zc", "c": "xv", "v": "cb", "b": "vn", "n": "bm", "m": "n",
}
