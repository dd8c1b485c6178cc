"""Files of Debian's packages that composites are made of, chosen by hand: photographs of single things, and photographs without such things.

Drawn things are left out, and so are mirrored copies, parts of things, and backgrounds that show a thing of one of the classes. Names are
separated by spaces.
"""

# Package of the things, and the folder under /usr/share that contains them.
THINGS_PACKAGE, THINGS_FOLDER = "tuxpaint-stamps-default", "tuxpaint/stamps"
# Names without the suffix .png, by folder, of each class; the classes are in the order of their labels, from 1 on.
THINGS = {
    "bird": {
        "animals/birds": """
            adelaide-rosella albino_peahen blackbird chicken_profile crow crowned_crane cuckoo drake duck gander
            guineafowl helmeted_guineafowl hen heron_greatblue heron_greatblue_flying lark little-penguin
            magellanic_penguin magpie nandou ostrich owl peacock pelican penguin pigeon pink_flamingo quetzal
            rainbow-lorikeet rooster seagull silver-gull tucan turkey vulture
        """,
    },
    "mammal": {
        "animals/mammals/apes": "chimp gorilla tamarin_emperor",
        "animals/mammals/aquatic": "dolphin orca otter sea_lion whale",
        "animals/mammals": "badger elephant ferret giraffe hippopotamus pig pig_golden pig_golden2 rabbit_little rhino_black wildboar",
        "animals/mammals/bears": "bear european-bear",
        "animals/mammals/bovines": """
            bison bull cow cow_white gnu-baby-stand gnu-baby gnu-sitting gnu-stand goat indian_blackbuck mountaingoat
            ram sheep sheep_lamb yak zebu
        """,
        "animals/mammals/camel": "camel dromedary",
        "animals/mammals/cats": "lion-2 lion tiger tiger_sumatran",
        "animals/mammals/deer": "caribou deer doe wapiti",
        "animals/mammals/dogs": "dingo dog fox",
        "animals/mammals/equines": "donkey donkey_eating horse zebra",
        "animals/mammals/rodents": "beaver capybara marmot mouse rabbit-2 rabbit rat squirrel",
    },
    "fruit": {
        "food/fruit": """
            Apricot_whole Cherry_Stella Strawberry2 apple_fuji apple_granny_smith apple_green apple_red
            apple_sierra_beauty apricot avocado banana cherimoya grapes kiwi lemon mandarine mango orange
            orange_seville pear pineapple pomegranate raspberry sliced_lime sliced_orange strawberry
        """,
        "food/nuts": "almond pecan walnut",
    },
    "vegetable": {
        "food/vegetables": """
            broccoli carrot chilepepper corn eggplant garlic garlics lettuce mushroom onion pattypan_squash pepper
            potato pumpkin_small redlettuce tomato yam yellowpepper
        """,
    },
    "flower": {
        "plants/flowers": """
            adeenia anemone_red anthoorium appooppanthady bolsom chemparathi daffodil flower1 flower10 flower2 flower3
            flower4 flower5 flower6 flower7 flower8 flower9 iris marigold pigface red-gazania rose whitestar-petunia
            yellow-flower
        """,
        "plants/flowers/plastic": "chuvanna_plastic_poo",
    },
    "vehicle": {
        "military/vehicles": "bradley f22_raptor infantry-stryker ww2_german_gun",
        "vehicles/auto": "beetle sedan sportscar2 truck",
        "vehicles/construction": "dumper",
        "vehicles/cycle": "pink_tricycle",
        "vehicles/emergency": "firetruck",
        "vehicles/flight": "balloon360",
        "vehicles/flight/planes": "747",
        "vehicles": "garbagetruck",
        "vehicles/masstransit": "green_korean_bus",
        "vehicles/race": "indycar",
        "vehicles/ship": "chineseJunk walnutBoat",
    },
}
# Names by folder under /usr/share, of each package.
BACKGROUNDS = {
    "lomiri-wallpapers-16.04": {
        "backgrounds": """
            Bridge_by_Sander_Klootwijk.jpg Dragonfly_by_Bolly.jpg Wine_by_Jakkub_Mede.jpg
            aitzgorri_by_Aitzol_Berasategi.jpg life_by_Aitzol_Berasategi.jpg picosdeeuropa_by_Aitzol_Berasategi.jpg
            sunset_by_Aitzol_Berasategi.jpg
        """,
    },
    "mate-backgrounds": {
        "backgrounds/mate/nature": "Aqua.jpg Blinds.jpg Dune.jpg GreenMeadow.jpg RainDrops.jpg Storm.jpg Wood.jpg",
    },
    "opencv-doc": {
        "doc/opencv-doc/examples/alphamat/input_images": "plant.jpg",
        "doc/opencv-doc/examples/data": """
            aero1.jpg aero3.jpg aloeL.jpg board.jpg building.jpg graf1.png home.jpg left.jpg leuvenA.jpg
            rubberwhale2.png
        """,
        "doc/opencv-doc/examples/hfs/data": "001.jpg 002.jpg",
        "doc/opencv-doc/examples/reg": "home.png",
        "doc/opencv-doc/examples/text": "scenetext03.jpg scenetext04.jpg scenetext05.jpg scenetext06.jpg",
    },
    "palapeli-data": {
        "palapeli/collection": "castle-maintenon.jpg cincinnati-bridge.jpg",
    },
    "scratch": {
        "scratch/Media/Backgrounds/Indoors": "chalkboard.jpg clothing-store.jpg hall.jpg kitchen.jpg the-movies-inside.jpg",
        "scratch/Media/Backgrounds/Nature": """
            beach-malibu.jpg canyon.jpg forest.jpg garden-rock.jpg grand-canyon.jpg gravel-desert.jpg hill.jpg
            lake.jpg moon.jpg pathway.jpg tree.jpg water-and-rocks.jpg wave.jpg
        """,
        "scratch/Media/Backgrounds/Outdoors": """
            all-sports-mural.jpg bench-with-view.jpg berkeley-mural.jpg boardwalk.jpg brick-wall-and-stairs.jpg
            brick-wall1.jpg brick-wall2.jpg building-at-mit.jpg building-fireproof.jpg castle.jpg city-with-water.jpg
            city-with-water2.jpg driveway.jpg graffiti.jpg hallway_outdoors.jpg hay_field.jpg houses.jpg mansion.jpg
            mural-faro.jpg parking-ramp.jpg pool.jpg route66.jpg silos.jpg the-movies.jpg train-tracks1.jpg
            train-tracks2.jpg village.jpg wooden-house.jpg
        """,
        "scratch/Media/Backgrounds/Sports": """
            baseball-field.jpg basketball-court1-a.jpg basketball-court1-b.jpg football-field.jpg playing-field.jpg
            tennis-backboard.jpg
        """,
    },
}


def things_of(name: str) -> list[str]:
    """Returns the paths of a class's photographs, relative to /usr/share."""
    return [
        f"{THINGS_FOLDER}/{folder}/{each}.png"
        for folder, names in THINGS[name].items()
        for each in names.split()
    ]


def backgrounds_of(package: str) -> list[str]:
    """Returns the paths of the backgrounds in a package, relative to /usr/share."""
    folders = BACKGROUNDS[package].items()
    return [f"{folder}/{each}" for folder, names in folders for each in names.split()]
