"""What an object may be called: synonyms, kinds it belongs to, and names that somebody might use by mistake.

`names` are true of the object. `confusable` are names that are not its own but close enough that an
expression with one of
them must neither point at another object nor count as absent while this object is in view.
"""

from __future__ import annotations

from dataclasses import dataclass

# One group a line (indented lines continue it): words for one and the same kind of object; the first is the
# usual one.
_SYNONYMS = """
box, carton, package, parcel, cardboard box
bottle, flask
can, tin
cup, tumbler
mug, coffee mug
sofa, couch
trash can, garbage can, bin, dustbin, waste bin
tv, television
laptop, laptop computer, notebook computer
phone, telephone
car, automobile
airplane, plane, aeroplane
bicycle, bike
motorbike, motorcycle
rabbit, bunny
rooster, cock
mushroom, toadstool
teddy bear, stuffed bear
lamp, light
wardrobe, closet
cupboard, cabinet
plant, potted plant
pan, frying pan
truck, lorry
fridge, refrigerator
rug, carpet
bell pepper, pepper
wrench, spanner
"""

# kind: its members; an object is also whatever its kind is.
_KINDS = """
animal: bird, fish, insect, dog, cat, horse, bear, frog, cow, sheep, goat, pig, rabbit, mouse, rat,
    elephant, giraffe, zebra, lion, tiger, deer, donkey, camel, fox, monkey, gorilla, kangaroo, koala,
    dolphin, whale, otter, sea lion, bison, bull, antelope, squirrel, beaver, hippo, rhino, badger,
    ferret, wild boar, lizard, seahorse, shrimp, lobster, slug, wombat, marmot, capybara, turtle, snake,
    hedgehog, moose, panda, crocodile
bear: polar bear
building: windmill, tower, lighthouse, church, castle, house, temple, mosque, palace
bird: duck, goose, chicken, rooster, penguin, pigeon, seagull, owl, parrot, peacock, pelican, ostrich,
    flamingo, crow, magpie, turkey, vulture, toucan, heron, crane
insect: bee, wasp, fly, grasshopper, mantis, moth, butterfly
fruit: apple, banana, orange fruit, lemon, pear, peach, strawberry, cherry, grapes, pineapple, kiwi,
    mango, raspberry, pomegranate, apricot, lime, avocado
vegetable: carrot, broccoli, tomato, potato, onion, garlic, bell pepper, corn, lettuce, pumpkin, eggplant,
    chili pepper, squash
food: fruit, vegetable, mushroom, pie, cake, pizza, bread, nut, candy cane, hamburger
nut: almond, pecan, walnut
tool: hammer, wrench, saw, pliers, scissors, spade, paintbrush, screwdriver, drill, tape measure, axe,
    ladder
vehicle: car, truck, bus, airplane, tank, fire truck, garbage truck, bicycle, motorbike, boat, tricycle,
    tractor, train, race car, police car, jet, van, scooter, forklift, biplane
car: race car, police car
truck: fire truck, garbage truck
airplane: jet
boat: sailboat, ship
instrument: guitar, violin, cello, trumpet, drum, drum kit, cymbal, bassoon, piano
furniture: chair, table, sofa, bed, desk, cupboard, bookcase, wardrobe, stool, armchair, bench, dresser,
    shelf, nightstand, cabinet, bar stool
stool: bar stool
chair: armchair, office chair
shoe: sneakers, shoes
clothing: shoe, hat, trousers, jacket, dress, skirt, glove, shirt
electronics: laptop, phone, tv, camera, radio, speaker, headphones, keyboard, tablet, remote control,
    printer, joystick
kitchen tool: fork, knife, spoon, pan
table: desk, coffee table
container: box, bottle, can, cup, mug, jar, bowl, vase, pitcher, bucket, basket, jug, toolbox, trash can,
    pot, crate, barrel, milk carton, gift box, suitcase, basket, chest
box: gift box
bottle: beer bottle, gas bottle
dish: plate, bowl, cup, mug, glass, teapot
flower: rose, daffodil, iris, marigold, petunia
plant: flower, tree, bush
tree: palm tree, christmas tree
toy: teddy bear, doll, rubber duck
ball: basketball, soccer ball, tennis ball, football, cricket ball
hat: top hat, santa hat, cap
sign: stop sign, traffic sign
person: man, woman, boy, girl, firefighter, astronaut
appliance: fridge, oven, washing machine, microwave, toaster, kettle, coffee maker, blender, mixer
lamp: table lamp, floor lamp, camping lamp
planet: earth, moon, saturn, jupiter, mars
"""

# Kinds that look alike enough that one is sometimes called by the other's name (both ways).
_CONFUSABLE = """
cup, mug, glass, bowl, pot, jar, vase, pitcher
bottle, jar, vase, pitcher, jug, cylinder
can, cup, jar, cylinder
box, book, toolbox, crate, block, brick, cupboard, fridge, dresser, nightstand, wardrobe, cube
ball, planet, orange fruit, apple, fruit, moon, sphere, christmas ball
fruit, vegetable, tomato
chair, stool, bench, sofa, armchair
table, desk, bench, nightstand, stool
bird, rubber duck, duck
bear, teddy bear
trash can, bucket, basket
toy, animal, vehicle
plant, flower, vegetable, fruit, tree, vase
tool, pen, key, knife
person, doll, statue
container, dish, suitcase, bag, glass, teapot, kettle, cupboard, basket, package
cupboard, wardrobe, dresser, bookcase, shelf, nightstand, cabinet, chest
box, milk carton, gift box, crate, chest, suitcase, safe, speaker, barrel, microwave, radio
laptop, tv, tablet, phone, book
person, mannequin, doll, statue, snowman
scooter, motorbike, bicycle, tricycle, skateboard
book, calendar, newspaper, chessboard
fork, knife, spoon, kitchen tool, tool
pencil, marker, pen, flashlight, tool
glass, vase, jar
lamp, lightbulb, candle
horse, donkey, zebra
dog, fox, wolf
"""


def _groups(text: str) -> tuple[tuple[str, ...], ...]:
    joined = text.strip().replace("\n    ", " ")
    return tuple(tuple(word.strip() for word in line.split(",")) for line in joined.splitlines())


SYNONYMS = _groups(_SYNONYMS)
CONFUSABLE = _groups(_CONFUSABLE)
KINDS = {head.split(":")[0]: (head.split(":")[1].strip(), *rest) for head, *rest in _groups(_KINDS)}


@dataclass(frozen=True)
class Names:
    """`usual` is what to call it; `own` are all true names (synonyms and kinds); `confusable` as in the
    module's text."""

    usual: str
    own: frozenset[str]
    confusable: frozenset[str]


def synonyms(noun: str) -> set[str]:
    """The noun and what else the same kind of object is called."""
    return next((set(group) for group in SYNONYMS if noun in group), {noun})


def _kinds(noun: str) -> set[str]:
    found: set[str] = set()
    todo = [noun]
    while todo:
        word = todo.pop()
        for kind, members in KINDS.items():
            if word in members and kind not in found:
                found.add(kind)
                todo.append(kind)
    return found


def name_object(noun: str, kinds: tuple[str, ...] = ()) -> Names:
    """All names of an object whose usual noun is `noun`; `kinds` adds kinds known from the source (folder,
    catalogue)."""
    extra = set(kinds) | {k for kind in kinds for k in _kinds(kind)}
    parents = _kinds(noun) | extra
    own = synonyms(noun)
    for parent in parents:
        own |= synonyms(parent)
    confusable: set[str] = set()
    for group in CONFUSABLE:
        if own & set(group):
            for word in group:
                confusable |= synonyms(word)
    # A member's name is confusable with its kind's other members only through CONFUSABLE; but a kind seen
    # without its
    # member being named ("bird" without which bird) might be any of them.
    if noun in KINDS:
        for member in KINDS[noun]:
            confusable |= synonyms(member)
    return Names(noun, frozenset(own), frozenset(confusable - own))


def display_noun(noun: str) -> str:
    """The noun as one says it ('orange fruit' only exists to keep the colour word apart)."""
    return "orange" if noun == "orange fruit" else noun
