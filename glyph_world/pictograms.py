"""The curated pictograms of the glyph world: what DejaVu Sans draws, under an honest name.

Each is named for what a person sees, which for most is the Unicode name in lower case. Left out: near-duplicates (the
outlined twin of a filled sign, the bold twin of a light one), turned copies, and signs that depict nothing.
"""

from __future__ import annotations

FAMILIES: dict[str, dict[str, str]] = {
    "weather": {
        "sun": "☼", "cloud": "☁", "umbrella": "☂", "snowman": "☃", "comet": "☄", "lightning": "☇", "thunderstorm": "☈",
        "snowflake": "❄", "crescent moon": "☾", "hot springs": "♨",
    },
    "thing": {
        "telephone": "☎", "cup of tea": "☕", "anchor": "⚓", "crossed swords": "⚔", "scales": "⚖", "alembic": "⚗",
        "gear": "⚙", "atom": "⚛", "hammer and pick": "⚒", "flag": "⚑", "coffin": "⚰", "urn": "⚱", "scissors": "✂",
        "tape drive": "✇", "airplane": "✈", "envelope": "✉", "pencil": "✏", "pen nib": "✒", "house": "⌂",
        "keyboard": "⌨", "wheelchair": "♿", "shogi piece": "☖", "bullseye": "◎", "check mark": "✔",
        "eject button": "⏏", "benzene ring": "⌬",
    },
    "nature": {
        "shamrock": "☘", "flower": "⚘", "fleur-de-lis": "⚜", "floral heart": "❦", "daisy": "✿", "pinwheel": "✵",
        "propeller": "❊", "sparkle": "❇", "pair of leaves": "❧",
    },
    "warning": {
        "skull and crossbones": "☠", "radioactive sign": "☢", "biohazard sign": "☣", "warning sign": "⚠",
        "high voltage sign": "⚡", "caution sign": "☡", "recycling symbol": "♻", "no entry cross": "✖",
    },
    "emblem": {
        "caduceus": "☤", "ankh": "☥", "orthodox cross": "☦", "chi rho": "☧", "cross of lorraine": "☨",
        "cross of jerusalem": "☩", "star and crescent": "☪", "hammer and sickle": "☭", "peace symbol": "☮",
        "yin yang": "☯", "wheel of dharma": "☸", "latin cross": "✝", "maltese cross": "✠", "star of david": "✡",
        "rod of asclepius": "⚕", "adi shakti": "☬", "female sign": "♀", "male sign": "♂", "wedding rings": "⚭",
    },
    "planet": {
        "mercury symbol": "☿", "earth symbol": "♁", "jupiter symbol": "♃", "saturn symbol": "♄", "uranus symbol": "♅",
        "neptune symbol": "♆", "pluto symbol": "♇", "ceres symbol": "⚳", "pallas symbol": "⚴", "juno symbol": "⚵",
        "vesta symbol": "⚶", "chiron symbol": "⚷",
    },
    "zodiac": {
        "aries sign": "♈", "taurus sign": "♉", "gemini sign": "♊", "cancer sign": "♋", "leo sign": "♌",
        "virgo sign": "♍",
        "libra sign": "♎", "scorpius sign": "♏", "sagittarius sign": "♐", "capricorn sign": "♑", "aquarius sign": "♒",
        "pisces sign": "♓",
    },
    "game": {
        "chess king": "♚", "chess queen": "♛", "chess rook": "♜", "chess bishop": "♝", "chess knight": "♞",
        "chess pawn": "♟", "spade": "♠", "heart": "♥", "diamond": "♦", "club": "♣", "die showing one": "⚀",
        "die showing two": "⚁", "die showing three": "⚂", "die showing four": "⚃", "die showing five": "⚄",
        "die showing six": "⚅", "checkers king": "⛃",
    },
    "music": {
        "quarter note": "♩", "eighth note": "♪", "pair of eighth notes": "♫", "pair of sixteenth notes": "♬",
        "flat sign": "♭", "natural sign": "♮", "sharp sign": "♯",
    },
    "hand": {
        "hand pointing left": "☚", "hand pointing up": "☝", "hand pointing right": "☛", "hand pointing down": "☟",
        "victory hand": "✌", "writing hand": "✍",
    },
    "shape": {
        "square": "■", "triangle": "▲", "circle": "●", "pentagon": "⬟", "hexagon": "⬢", "parallelogram": "▰",
        "half circle": "◖", "five pointed star": "★", "four pointed star": "✦", "six pointed star": "✶",
        "eight pointed star": "✸", "twelve pointed star": "✹",
    },
    "animal": {"mouse face": "🐭", "cow face": "🐮", "cat face": "🐱", "monkey face": "🐵"},
    "face": {
        "grinning face": "😀", "beaming face": "😁", "face with tears of joy": "😂", "smiling face": "😃",
        "sweating smile": "😅", "laughing face": "😆", "face with halo": "😇", "face with horns": "😈",
        "winking face": "😉", "blushing face": "😊", "face savouring food": "😋", "relieved face": "😌",
        "face with heart eyes": "😍", "face with sunglasses": "😎", "smirking face": "😏", "neutral face": "😐",
        "expressionless face": "😑", "unamused face": "😒", "sweating face": "😓", "pensive face": "😔",
        "confused face": "😕", "confounded face": "😖", "kissing face": "😗", "face blowing a kiss": "😘",
        "face with tongue out": "😛", "winking face with tongue out": "😜", "disappointed face": "😞",
        "worried face": "😟", "angry face": "😠", "pouting face": "😡", "crying face": "😢", "persevering face": "😣",
        "frowning face": "😦", "anguished face": "😧", "fearful face": "😨", "weary face": "😩", "sleepy face": "😪",
        "tired face": "😫", "sobbing face": "😭", "face with open mouth": "😮", "hushed face": "😯",
        "face screaming in fear": "😱", "astonished face": "😲", "flushed face": "😳", "sleeping face": "😴",
        "dizzy face": "😵", "face without mouth": "😶", "face with medical mask": "😷",
    },
    "cat": {
        "grinning cat": "😸", "cat with tears of joy": "😹", "smiling cat": "😺", "cat with heart eyes": "😻",
        "cat with wry smile": "😼", "kissing cat": "😽", "pouting cat": "😾", "crying cat": "😿", "weary cat": "🙀",
    },
}  # fmt: skip

PICTOGRAMS: dict[str, str] = {name: sign for family in FAMILIES.values() for name, sign in family.items()}
