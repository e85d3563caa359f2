"""What each model of the furniture catalogues is called here; models whose catalogue name is not listed are
not used.

Left out: doors, windows, sockets, railings, road markings and whole buildings, which nobody would ask a robot
to track, and
names that are a trade's or say nothing ("tool").
"""

from __future__ import annotations

_SAME = """
apples, aquarium, armchair, ashtray, backpack, bar stool, barrel, basketball, bed, beer bottle, bench,
bicycle, biplane, blender, book, bookcase, bookshelf, bottle, bowl, box, boy, bread, briefcase, broom,
brush, bus, cactus, calendar, camera, camping lamp, candle, cap, cat, chair, chessboard, chest, chicken,
christmas tree, clock, coffee maker, coffee table, comb, computer, couch, crate, cup, cupboard, deer, desk,
dog, dog house, doll, doll house, dress, dresser, drill, fire hydrant, flashlight, fork, fountain, fridge,
girl, glass, glasses, glove, hamburger, hammer, handbag, hat, headphones, helmet, horse, hot dog, jacket,
joystick, keyboard, keys, knife, lamp, laptop, mailbox, microwave, mixer, motorbike, newspaper, oven,
pallet, pencil, phone, plate, pottery, rabbit, radio, ring, rock, rocking horse, rowboat, rug, ruler, safe,
salt shaker, saw, scissors, scooter, screwdriver, shovel, skateboard, skirt, sneakers, snowman, soap, soccer
ball, sofa, speaker, sponge, spoon, stapler, stool, stroller, suitcase, sunglasses, table, table tennis bat,
tablet, tape measure, teapot, teddy bear, tennis racket, tent, toaster, towel, tray, treadmill, tricycle,
trousers, truck, tv, umbrella, van, vase, wardrobe, washing machine, watch, wheelbarrow, wheelchair,
xylophone
"""

# noun: catalogue names it stands for
_OTHER = """
armchair: relax chair, winchester armchair, modern armchair, rattan armchair
bar stool: bar chair
basket: shopping basket, clothes basket
bed: iron bed
bicycle: bike
bottle: baby bottle, yogurt bottle, flacon, spray bottle, wine bottle, medicine bottle
box: bread box, medicine box, cardboard box, open cardboard box
boy: sitting boy
bus: city bus
cabinet: filing cabinet, drawers cabinet
cake: cup cake, birthday cake
camera: reflex camera
car: car model, ford focus, concept sedan 01, vw new beetle, seat leon, peugeot 308 cc, renault scenic, suv,
    chevrolet, smart car
cat: siamese cat
chair: oak chair, osaka chair, folding chair, chair with cushion, child chair, cafe chair, teck chair,
    plastic chair, beach chair, children chair
chest: trunck
clock: cuckoo clock
coffee maker: coffee machine, coffee brewer
cube: rubik's cube
cup: coffee cup, plastic cup
desk: wooden desk, desk table
dog: bulldog
dresser: dresser with drawers
fan: table fan
fire extinguisher: extinguisher
forklift: fork lift
fridge: refrigerator, large fridge
fruit bowl: bowl with fruits
gift box: gift
girl: sitting girl
glass: beer glass
guitar: electric guitar
jar: old jar
kettle: espresso kettle
ladder: step ladder, small step ladder
laptop: apple ibook
lawn mower: mower
man: male, sitting male, holding male
mannequin: mannequin male, mannequin female
marker: text marker
milk carton: milk
motorbike: yamaha yzr r6
mug: coffee mug
nightstand: bedside table
oven: small oven
pan: large pan
phone: apple iphone, mobile phone, wireless phone
piano: grand piano, upright piano
pitcher: creamer
plant: little plant, decorative plant, indoor plant, yucca, spider plant, succulent plant, bonsai tree
plate: oval plate
pliers: cutting pliers
printer: inkjet printer and scanner
projector: video projector
remote control: tv remote control
roast chicken: roasted chicken
scale: electronic scale
shelf: shelves
shoe: bootie, mocassin
shoes: woman shoes
sofa: winchester sofa, clear sofa, sofa 2 seats, sofa 3 seats, burlap sofa, rattan sofa
table: oak table, round table, cafe table, glass table, black table, children table, wooden table
table lamp: desk lamp, little lamp, pedestal vase lamp
tent: camping tent
toilet: toilets unit
traffic cone: cone
train: toy train
trash can: dustbin, park trashcan, residential trashcan, bullet trash can, recycling bin
tv: tv 16:9
washing machine: clothes washing machine
woman: female, sitting female, holding female
"""

_NATURAL = """
apples, boy, bread, cactus, cat, chicken, christmas tree, deer, dog, fruit bowl, girl, hamburger, horse, hot
dog, man, plant, rabbit, roast chicken, rock, woman
"""


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.replace("\n", " ").split(",")]


def _table() -> dict[str, str]:
    nouns = {name: name for name in _words(_SAME)}
    for line in _OTHER.strip().replace("\n    ", " ").splitlines():
        noun, _, names = line.partition(": ")
        nouns |= dict.fromkeys(_words(names), noun)
    return nouns


_NOUNS = _table()


def furniture_noun(title: str) -> str | None:
    """The noun for a catalogue name, or None when the model is not to be used."""
    return _NOUNS.get(title.strip().lower())


def is_natural(noun: str) -> bool:
    """Whether the thing has its own colour."""
    return noun in _words(_NATURAL)
