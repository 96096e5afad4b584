"""Tables with text columns, and texts."""

from __future__ import annotations

from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder
from sklearn.svm import LinearSVC

from sklearn_models.case import SEED, Case, customers, customers_by_name, reviews


def _table(encoder: object, last: object, *, by_name: bool = False) -> object:
    numbers, texts = (["age", "income", "visits"], ["city", "plan"]) if by_name else ([0, 1, 4], [2, 3])
    scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    return make_pipeline(ColumnTransformer([("numbers", scaled, numbers), ("texts", encoder, texts)]), last)


def _forest() -> RandomForestClassifier:
    return RandomForestClassifier(25, random_state=SEED)


CASES = [
    Case("table: one-hot, linear", lambda: _table(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()), customers),
    Case(
        "table by names: one-hot, linear",
        lambda: _table(OneHotEncoder(handle_unknown="ignore"), LogisticRegression(), by_name=True),
        customers_by_name,
        "skops",
    ),
    Case("table: one-hot, forest", lambda: _table(OneHotEncoder(handle_unknown="ignore"), _forest()), customers, "pkl"),
    Case(
        "table: infrequent categories, forest",
        lambda: _table(OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=70), _forest()),
        customers,
    ),
    Case(
        "table: ordinal, histogram boosting",
        lambda: _table(
            OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
            HistGradientBoostingClassifier(max_iter=20, random_state=SEED),
        ),
        customers,
    ),
    Case("table: target encoder, forest", lambda: _table(TargetEncoder(random_state=SEED), _forest()), customers),
    Case("text: TF-IDF, linear", lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()), reviews, "skops"),
    Case(
        "text: TF-IDF of pairs, sublinear, no accents",
        lambda: make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, strip_accents="unicode"), LinearSVC()),
        reviews,
    ),
    Case("text: TF-IDF, forest", lambda: make_pipeline(TfidfVectorizer(min_df=2), _forest()), reviews),
    Case(
        "text: counts without stop words, naive Bayes",
        lambda: make_pipeline(CountVectorizer(stop_words="english", ngram_range=(1, 2)), MultinomialNB()),
        reviews,
        "pkl",
    ),
    Case(
        "text: ASCII only, SGD",
        lambda: make_pipeline(CountVectorizer(strip_accents="ascii", binary=True), SGDClassifier(loss="log_loss", random_state=SEED)),
        reviews,
    ),
]
