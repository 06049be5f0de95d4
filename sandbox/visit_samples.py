"""What the made-up visits are made of; words and combinations as a real Matomo 5.0.2 recorded them.

Each table holds parts of an answer, chosen by number.
"""

from __future__ import annotations

from typing import Any

Part = dict[str, Any]

LONG_PATH = "very/" + "long/" * 40
# path, title: quotes, tabs, line ends, backslashes and characters beyond the 16-bit plane.
PAGES = (
    ("", "Home"),
    ("products/", "Products"),
    ("produits/été?réf=ça", "Été \u2013 “promo” 100% €"),
    ("日本/製品", "製品 一覧 🎌"),
    ("emoji/😀", "Emoji 😀 title\ttab"),
    ("quote'\"s", 'O\'Brien "quoted" \\back\\slash'),
    ("a b/c%20d?x=1&y=2", "Spaces & <tags>"),
    (LONG_PATH, "A long way"),
    ("blog/post-1", "Two\nlines\r\nand \\N, \\. and \\t"),
    ("thanks", ""),
    ("contact", " blank at both ends "),
)
EVENTS: tuple[Part, ...] = (
    {"eventCategory": "Video", "eventAction": "submit"},
    {"eventCategory": "Catégorie é", "eventAction": "clic", "eventName": "名前"},
    {"eventCategory": "Form", "eventAction": "play", "eventName": "contact", "eventValue": 0},
    {"eventCategory": "Video", "eventAction": "play", "eventName": "intro.mp4", "eventValue": 2.5},
    {"eventCategory": "Form", "eventAction": "clic", "eventName": "contact", "eventValue": -3},
    {"eventCategory": "Catégorie é", "eventAction": "play", "eventValue": 10},
)
# keyword, category, count of results
SEARCHES = (("naïve café", "Cat1", 0), ("靴", "", 3), ("shoes", "Cat1", 12), ("", "", 0))
GOALS = (("Visited thanks €5", 1, 5), ("Contact sent", 2, 12.5))
ORDER_ITEMS: list[Part] = [
    {
        "itemSKU": "SKU1",
        "itemName": "Chaussure é",
        "itemCategory": "Cat A",
        "price": 500,
        "quantity": 2,
        "categories": ["Cat A", "Cat B"],
    },
    {
        "itemSKU": "SKU2",
        "itemName": "Socks",
        "itemCategory": "Cat C",
        "price": 11.11,
        "quantity": 1,
        "categories": ["Cat C"],
    },
]
ORDER: Part = {
    "revenue": 1111.11,
    "revenueSubTotal": 1000,
    "revenueTax": 100,
    "revenueShipping": 11.11,
    "revenueDiscount": 0,
    "items": 3,
}

# type, type's name, name, keyword, URL, search engine's URL, its icon
REFERRERS = (
    ("direct", "Direct Entry", "", "", None, None, None),
    (
        "website",
        "Websites",
        "news.example.net",
        "",
        "https://news.example.net/article/1",
        None,
        None,
    ),
    (
        "search",
        "Search Engines",
        "Google",
        "matomo etl",
        "https://www.google.com/search?q=matomo+etl",
        "http://google.com",
        "plugins/Morpheus/icons/dist/searchEngines/google.com.png",
    ),
    (
        "search",
        "Search Engines",
        "Facebook",
        "Keyword not defined",
        "https://www.facebook.com/",
        "http://www.facebook.com",
        "plugins/Morpheus/icons/dist/searchEngines/www.facebook.com.png",
    ),
    ("campaign", "Campaigns", "été 2026", "", None, None, None),
)
LANGUAGES = (
    ("pt", "Portuguese"),
    ("hi", "Hindi"),
    ("fr", "French"),
    ("en", "English"),
    ("ja", "Japanese"),
    ("de", "German"),
)
# device's type, brand, model; system's name, code, version; browser's family and its description,
# name, code, version
DEVICES = (
    ("Smartphone", "Apple", "iPhone", "iOS", "IOS", "17.5",
     "WebKit", "WebKit (Safari)", "Mobile Safari", "MF", "17.5"),
    ("Desktop", "Unknown", "Generic Desktop", "Windows", "WIN", "10",
     "Blink", "Blink (Chrome, Opera)", "Microsoft Edge", "PS", "128.0"),
    ("Desktop", "Apple", "Generic Desktop", "Mac", "MAC", "10.15",
     "WebKit", "WebKit (Safari)", "Safari", "SF", "17.6"),
    ("Desktop", "Unknown", "Generic Desktop", "GNU/Linux", "LIN", "",
     "Gecko", "Gecko (Firefox)", "Firefox", "FF", "131.0"),
    ("Smartphone", "Google", "Pixel 8", "Android", "AND", "14",
     "Blink", "Blink (Chrome, Opera)", "Chrome Mobile", "CM", "129.0"),
)  # fmt: skip
RESOLUTIONS = ("412x915", "1440x900", "2560x1440", "390x844", "1920x1080", "1366x768", "unknown")
# continent and code, country and code, region and code, city, location, latitude, longitude
PLACES = (
    ("Unknown", "unk", "Unknown", "xx", None, None, None, "Unknown", None, None),
    ("Europe", "eur", "France", "fr", "Île-de-France", "IDF", "Paris",
     "Paris, Île-de-France, France", "48.856600", "2.352200"),
    ("Asia", "asi", "Japan", "jp", "Tōkyō", "13", "東京", "東京, Tōkyō, Japan", None, None),
)  # fmt: skip
USERS = (None, None, None, None, "user8@example.org", "user6@example.org")
PLANS = (None, "free", "entreprise é", "pro")
PEOPLE = (None, "Zoë", "Ann", "Bob")
EXPERIMENTS: tuple[list[Part], ...] = (
    [],
    [
        {
            "idexperiment": "1",
            "name": "Bouton “é”",
            "variation": {"idvariation": "2", "name": "vert"},
        }
    ],
)
