"""What each model of the furniture catalogues is called here; models whose catalogue name is not listed are not used.

Left out: doors, windows, sockets, railings, road markings and whole buildings, which nobody would ask a robot to track, and
names that are a trade's or say nothing ("tool").
"""

from __future__ import annotations

_SAME = (
    "armchair", "bed", "bookcase", "rocking horse", "biplane", "scissors", "comb", "deer", "oven", "mixer", "mailbox", "pallet", "chair",
    "ruler", "stool", "speaker", "teddy bear", "towel", "umbrella", "wardrobe", "headphones", "box", "barrel", "crate", "cupboard", "desk",
    "basketball", "calendar", "bread", "chicken", "couch", "horse", "bench", "briefcase", "cactus", "handbag", "lamp", "motorbike", "sofa",
    "table", "tennis racket", "wheelbarrow", "hot dog", "truck", "rock", "backpack", "beer bottle", "book", "clock", "coffee table", "fork",
    "glass", "blender", "knife", "microwave", "radio", "safe", "spoon", "wheelchair", "washing machine", "snowman", "chessboard",
    "chest", "laptop", "suitcase", "sunglasses", "treadmill", "xylophone", "fountain", "salt shaker", "camping lamp", "rowboat", "dresser",
    "ashtray", "bowl", "coffee maker", "fridge", "plate", "flashlight", "keyboard", "tape measure", "fire hydrant", "newspaper", "stapler",
    "vase", "pencil", "candle", "tray", "bar stool", "brush", "sponge", "bottle", "soap", "cup", "glasses", "phone", "teapot", "camera",
    "sneakers", "broom", "shovel", "cat", "dog", "scooter", "stroller", "tricycle", "doll", "rabbit", "tablet", "dress",
    "cap", "hat", "helmet", "trousers", "jacket", "bicycle", "bus", "van", "watch", "ring", "saw", "drill", "hammer", "screwdriver",
    "glove", "keys", "skateboard", "toaster", "tent", "bookshelf", "joystick", "hamburger", "pottery", "skirt", "aquarium", "rug",
)  # fmt: skip
_OTHER = {
    "bedside table": "nightstand", "coffee cup": "cup", "desk lamp": "table lamp", "little lamp": "table lamp", "tv": "tv", "baby bottle": "bottle",
    "oak chair": "chair", "oak table": "table", "grand piano": "piano", "upright piano": "piano", "plastic cup": "cup", "relax chair": "armchair",
    "shelves": "shelf", "table fan": "fan", "milk": "milk carton", "text marker": "marker", "yogurt bottle": "bottle", "flacon": "bottle",
    "apple iphone": "phone", "electric guitar": "guitar", "little plant": "plant", "extinguisher": "fire extinguisher",
    "beer glass": "glass", "cuckoo clock": "clock", "decorative plant": "plant", "dustbin": "trash can", "fork lift": "forklift",
    "refrigerator": "fridge", "large fridge": "fridge", "osaka chair": "chair", "folding chair": "chair", "winchester armchair": "armchair",
    "winchester sofa": "sofa", "bootie": "shoe", "cup cake": "cake", "car model": "car", "chair with cushion": "chair",
    "christmas tree": "christmas tree", "gift": "gift box", "child chair": "chair", "large pan": "pan", "indoor plant": "plant", "yucca": "plant",
    "mobile phone": "phone", "round table": "table", "rubik's cube": "cube", "soccer ball": "soccer ball", "bread box": "box",
    "bike": "bicycle", "bulldog": "dog", "ford focus": "car", "siamese cat": "cat", "spider plant": "plant", "succulent plant": "plant",
    "toy train": "train", "cafe chair": "chair", "cafe table": "table", "park trashcan": "trash can", "residential trashcan": "trash can",
    "bullet trash can": "trash can", "spray bottle": "bottle", "coffee mug": "mug", "oval plate": "plate", "glass table": "table",
    "concept sedan 01": "car", "female": "woman", "male": "man", "boy": "boy", "girl": "girl", "sitting male": "man", "sitting female": "woman",
    "sitting boy": "boy", "sitting girl": "girl", "holding male": "man", "holding female": "woman", "recycling bin": "trash can",
    "trunck": "chest", "vw new beetle": "car", "apple ibook": "laptop", "wine bottle": "bottle", "iron bed": "bed", "teck chair": "chair",
    "old jar": "jar", "clear sofa": "sofa", "black table": "table", "tv 16:9": "tv", "seat leon": "car", "apples": "apples",
    "sofa 2 seats": "sofa", "sofa 3 seats": "sofa", "burlap sofa": "sofa", "wooden desk": "desk", "modern armchair": "armchair",
    "plastic chair": "chair", "beach chair": "chair", "medicine bottle": "bottle", "medicine box": "box", "creamer": "pitcher",
    "birthday cake": "cake", "clothes washing machine": "washing machine", "inkjet printer and scanner": "printer", "reflex camera": "camera",
    "woman shoes": "shoes", "mocassin": "shoe", "peugeot 308 cc": "car", "renault scenic": "car", "yamaha yzr r6": "motorbike",
    "cardboard box": "box", "open cardboard box": "box", "shopping basket": "basket", "clothes basket": "basket", "step ladder": "ladder",
    "small step ladder": "ladder", "bonsai tree": "plant", "doll house": "doll house", "roasted chicken": "roast chicken", "suv": "car",
    "chevrolet": "car", "smart car": "car", "cone": "traffic cone", "cutting pliers": "pliers", "city bus": "bus", "rattan armchair": "armchair",
    "rattan sofa": "sofa", "children chair": "chair", "children table": "table", "bowl with fruits": "fruit bowl", "camping tent": "tent",
    "dog house": "dog house", "table tennis bat": "table tennis bat", "filing cabinet": "cabinet", "drawers cabinet": "cabinet",
    "dresser with drawers": "dresser", "coffee machine": "coffee maker", "coffee brewer": "coffee maker", "tv remote control": "remote control",
    "electronic scale": "scale", "toilets unit": "toilet", "wireless phone": "phone", "wooden table": "table", "video projector": "projector",
    "mannequin male": "mannequin", "mannequin female": "mannequin", "bar chair": "bar stool", "espresso kettle": "kettle",
    "desk table": "desk", "computer": "computer", "small oven": "oven", "mower": "lawn mower", "pedestal vase lamp": "table lamp",
}  # fmt: skip
_NATURAL = {"deer", "chicken", "horse", "cat", "dog", "rabbit", "man", "woman", "boy", "girl", "plant", "christmas tree", "bread", "hamburger",
            "hot dog", "roast chicken", "rock", "apples", "fruit bowl", "cactus"}  # fmt: skip


def furniture_noun(title: str) -> str | None:
    """The noun for a catalogue name, or None when the model is not to be used."""
    key = title.strip().lower()
    return key if key in _SAME else _OTHER.get(key)


def is_natural(noun: str) -> bool:
    """Whether the thing has its own colour."""
    return noun in _NATURAL
