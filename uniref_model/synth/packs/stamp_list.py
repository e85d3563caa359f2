"""Which of tuxpaint's stamps are photographs of objects, and what each shows. Chosen by eye: no cartoons,
letters, symbols, coins.

One line a folder: `folder: file=noun file=noun ...`; a file without `=` is its own noun; `_` in a noun stands
for a space.
"""

from __future__ import annotations

_LIST = """
animals/amphibians: frog-1=frog frog
animals/birds: adelaide-rosella=parrot blackbird=bird chicken_profile=chicken crow cuckoo=bird drake=duck duck
animals/birds: gander=goose guineafowl=bird
animals/birds: crowned_crane=crane helmeted_guineafowl=bird hen=chicken heron_greatblue=heron
animals/birds: heron_greatblue_flying=heron lark=bird
animals/birds: little-penguin=penguin magellanic_penguin=penguin magpie nandou=ostrich ostrich owl peacock
animals/birds: pelican penguin pigeon
animals/birds: pink_flamingo=flamingo quetzal=bird rainbow-lorikeet=parrot rooster seagull silver-gull=seagull
animals/birds: tucan=toucan turkey vulture
animals/fish: bluegroper=fish butterflyfish=fish clownfish=fish coraltrout=fish dolphinfish=fish lobster
animals/fish: moonwrasse=fish
animals/fish: seahorse shrimp stripedfish=fish
animals/insects: Brown_slug=slug Woodlouse=insect grasshopper hornet=wasp hoverfly=insect mantis xanthia=moth
animals/lizards: iguana=lizard
animals/mammals/apes: chimp=monkey gorilla tamarin_emperor=monkey
animals/mammals/aquatic: dolphin orca=whale otter sea_lion whale
animals/mammals: badger elephant ferret giraffe hippopotamus=hippo pig pig_golden=pig pig_golden2=pig
animals/mammals: rabbit_little=rabbit
animals/mammals: rhino_black=rhino wildboar=wild_boar
animals/mammals/bears: bear european-bear=bear
animals/mammals/bears/toys: edward_bear=teddy_bear
animals/mammals/bovines: bison bull cow cow_white=cow gnu-baby-stand=antelope gnu-baby=antelope
animals/mammals/bovines: gnu-stand=antelope goat
animals/mammals/bovines: indian_blackbuck=antelope mountaingoat=goat ram=sheep sheep sheep_lamb=sheep yak=bull
animals/mammals/bovines: zebu=bull
animals/mammals/camel: camel dromedary=camel
animals/mammals/cats: lion-2=lion lion tiger tiger_sumatran=tiger
animals/mammals/deer: caribou=deer deer doe=deer wapiti=deer
animals/mammals/dogs: dingo=dog dog fox
animals/mammals/equines: donkey horse zebra
animals/mammals/rodents: beaver capybara marmot mouse rabbit-2=rabbit rabbit rat squirrel
animals/marsupials: kangaroo koala wombat
animals/shellfish: abalone=shell murray-mussel=shell
clothes: clothespin_new=clothespin clothespin_old=clothespin
clothes/hats: tophat=top_hat
food/fruit: Apricot_whole=apricot Cherry_Stella=cherry Strawberry2=strawberry apple_fuji=apple
food/fruit: apple_granny_smith=apple apple_green=apple
food/fruit: apple_red=apple apple_sierra_beauty=apple apricot avocado banana grapes kiwi lemon
food/fruit: mandarine=orange_fruit mango
food/fruit: orange=orange_fruit pear pineapple pomegranate raspberry sliced_lime=lime strawberry
food/nuts: almond pecan walnut
food/vegetables: broccoli carrot chilepepper=chili_pepper corn eggplant garlic lettuce mushroom onion
food/vegetables: pattypan_squash=squash
food/vegetables: pepper=bell_pepper potato pumpkin_small=pumpkin redlettuce=lettuce tomato
food/vegetables: yellowpepper=bell_pepper
hobbies: binoculars camera_35mm=camera
hobbies/music/brass: trumpet
hobbies/music/percussion: cymbal_crash=cymbal drum_tomtom_floor=drum drumkit=drum_kit
hobbies/music/string: cello guitar2=guitar guitar_classical=guitar guitar_electric=guitar
hobbies/music/string: guitar_electric_bass=guitar violin
hobbies/music/wind: bassoon
household: Lightbulb=lightbulb cylinder=gas_bottle garbagecan=trash_can home_compost_bin=trash_can kettle key
household: rubberduck=rubber_duck
household: toilet wheelie_bin=trash_can
household/arttools: highlighter=marker pen_dryerase=marker scissors_small_closed=scissors
household/arttools: scissors_small_open=scissors
household/dishes: mug pitcher_small=pitcher teapot
household/dishes/utensils: nutcracker pepper_grinder
household/tools: cementmixer=cement_mixer hammer mallet_metal=hammer measuring_tape=tape_measure
household/tools: paintbrush_large=paintbrush plyers=pliers
household/tools: saw spade toolbox wrench wrench_adjustable=wrench wrench_plumbers=wrench
medical: bandage_adhesive=bandage mercurythermometer=thermometer stethoscope syringe
military: fireman240a=firefighter
military/vehicles: bradley=tank f22_raptor=jet infantry-stryker=tank ww2_german_gun=tank
people: fireman200b=firefighter
people/toys: grannysmith=doll
plants/flowers: adeenia=flower anemone_red=flower anthoorium=flower bolsom=flower chemparathi=flower daffodil
plants/flowers: flower1=flower flower10=flower
plants/flowers: flower2=flower flower3=flower flower5=flower flower6=flower flower8=flower flower9=flower iris
plants/flowers: marigold
plants/flowers: pigface=flower red-gazania=flower rose whitestar-petunia=petunia yellow-flower=flower
plants/mushrooms: cep-1=mushroom cep-2=mushroom cep=mushroom
plants/trees: holm_oak=tree liberia-palm=palm_tree pinecone tree336=tree
seasonal: candle
seasonal/christmas: Candy_cane_photo_1=candy_cane Candy_cane_photo_2=candy_cane
seasonal/christmas: Christmas_Tree_photo=christmas_tree Christmas_pudding=cake
seasonal/christmas: German_Christmas_toy=doll Mince_Pie=pie Roast_turkey=roast_chicken santahat=santa_hat
seasonal/christmas: xmaswreath=wreath
space: spacewalk=astronaut
space/planets: 3_earth=earth 4_mars=mars 5_jupiter=jupiter
sports: australian_rules_football=football basketball cricketball=cricket_ball football soccer=soccer_ball
sports: tennis_ball
sports: tennis_racket trophy_cup=trophy
town/monuments: inukshuk-photo=statue
town/roadsigns: no_entry_sign=traffic_sign stop=stop_sign traffic_cone yield=traffic_sign
town/roadsigns: crossroads=traffic_sign
town: uk_post_box=mailbox usps_mailbox=mailbox
vehicles: 7spoke256=wheel garbagetruck=garbage_truck wheel_tractor=wheel
vehicles/auto: beetle=car sedan=car sportscar2=car truck
vehicles/construction: dumper=tractor
vehicles/cycle: pink_tricycle=tricycle
vehicles/emergency: firetruck=fire_truck
vehicles/flight: balloon360=hot_air_balloon
vehicles/flight/planes: 747=airplane
vehicles/masstransit: green_korean_bus=bus
vehicles/race: indycar=race_car
vehicles/ship: chineseJunk=sailboat walnutBoat=sailboat
"""

# Repainting these makes a lie of them more often than not.
_NATURAL = ("animals", "food", "plants", "people", "military", "space", "seasonal/christmas/Roast")


def stamps() -> list[tuple[str, str, bool]]:
    """(path below the stamps folder without .png, noun, natural) of every stamp to use."""
    found = []
    for line in _LIST.strip().splitlines():
        folder, files = line.split(":")
        for entry in files.split():
            name, _, noun = entry.partition("=")
            path = f"{folder}/{name}"
            found.append((path, (noun or name).replace("_", " "), path.startswith(_NATURAL)))
    return found
