#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "formats/json.h"
#include "tokenizers/jinja_filters.h"
#include "tokenizers/jinja_text.h"

namespace headscope::jinja {

namespace {

[[noreturn]] void fail(std::string message, ErrorCode code = ErrorCode::kInput) {
  throw Failure{code, std::move(message)};
}

// What "user.name.0" names in an item; the item itself for none.
Value look_up(Run& run, Value item, const Value& path, const Value* fallback = nullptr) {
  if (path.is_none()) return item;
  std::vector<Value> parts = {path};
  if (path.is_text()) {
    parts.clear();
    for (std::string& part : split(path.text(), ".", -1, false)) {
      const bool digits = !part.empty() && part.size() < 10 &&
                          part.find_first_not_of("0123456789") == std::string::npos;
      parts.push_back(digits ? Value::of(std::int64_t{std::stol(part)}) : Value::of(part));
    }
  }
  for (const Value& part : parts) {
    item = run.item(item, part);
    if (fallback != nullptr && item.is_undefined()) item = *fallback;
  }
  return item;
}

Value without_case(Run& run, const Value& value, bool case_sensitive) {
  return value.is_text() && !case_sensitive ? run.text(lower(value.text())) : value;
}

// (key, item), in the order of keys.
using Keyed = std::pair<Value, Value>;
void sort_by_key(Run& run, std::vector<Keyed>& items, bool reverse) {
  std::stable_sort(items.begin(), items.end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? compare(b.first, a.first, run.budget()) < 0
                   : compare(a.first, b.first, run.budget()) < 0;
  });
}

// Keys of items for sort, min, unique ...: the attribute, large letters as small ones.
std::vector<Keyed> keyed(Run& run, const Value& v, const Value& attribute, bool case_sensitive) {
  std::vector<Keyed> out;
  for (const Value& item : iterate(v, run.budget()))
    out.emplace_back(without_case(run, look_up(run, item, attribute), case_sensitive), item);
  return out;
}

Value optional_argument(const Bound& a, std::size_t i) { return a.given(i) ? a[i] : Value(); }

Value list_of(Run& run, const std::vector<Keyed>& items) {
  List out;
  for (const Keyed& item : items) out.push_back(item.second);
  return run.list(std::move(out));
}

Value sorted(Run& run, const Value& v, const Bound& a) {
  const bool case_sensitive = a.truth(1, false);
  const Value attribute = optional_argument(a, 2);
  std::vector<Keyed> items;
  if (attribute.is_text() && attribute.text().find(',') != std::string::npos) {
    const std::vector<std::string> paths = split(attribute.text(), ",", -1, false);
    for (const Value& item : iterate(v, run.budget())) {
      List keys;
      for (const std::string& path : paths) {
        keys.push_back(without_case(run, look_up(run, item, Value::of(path)), case_sensitive));
      }
      items.emplace_back(run.list(std::move(keys)), item);
    }
  } else {
    items = keyed(run, v, attribute, case_sensitive);
  }
  sort_by_key(run, items, a.truth(0, false));
  return list_of(run, items);
}

Value sorted_dict(Run& run, const Value& v, const Bound& a) {
  if (!v.is_dict()) fail(fmt::format("expected a dict to sort, found {}", type_name(v)));
  const std::string by = a.given(1) ? a.text(1) : "key";
  if (by != "key" && by != "value") fail("expected dictsort by key or value, found " + by);
  std::vector<Keyed> items;
  for (const auto& [key, value] : v.dict().items) {
    items.emplace_back(without_case(run, by == "key" ? key : value, a.truth(0, false)),
                       run.list({key, value}, true));
  }
  sort_by_key(run, items, a.truth(2, false));
  return list_of(run, items);
}

template <bool kLargest>
Value extreme(Run& run, const Value& v, const Bound& a) {
  const std::vector<Keyed> items = keyed(run, v, optional_argument(a, 1), a.truth(0, false));
  if (items.empty()) return Value::undefined("expected an item in the list, found none");
  const Keyed* best = &items[0];
  for (const Keyed& item : items) {
    const int order = compare(item.first, best->first, run.budget());
    if (kLargest ? order > 0 : order < 0) best = &item;
  }
  return best->second;
}

Value unique(Run& run, const Value& v, const Bound& a) {
  Dict seen;
  List out;
  for (const auto& [key, item] : keyed(run, v, optional_argument(a, 1), a.truth(0, false))) {
    if (seen.find(key) != nullptr) continue;
    seen.set(key, Value());
    out.push_back(item);
  }
  return run.list(std::move(out));
}

Value grouped(Run& run, const Value& v, const Bound& a) {
  const bool case_sensitive = a.truth(2, false);
  const Value* fallback = a.has(1) ? &a[1] : nullptr;
  std::vector<Keyed> items;
  for (const Value& item : iterate(v, run.budget())) {
    items.emplace_back(without_case(run, look_up(run, item, a[0], fallback), case_sensitive), item);
  }
  sort_by_key(run, items, false);
  List out;
  for (std::size_t begin = 0; begin < items.size();) {
    List group;
    std::size_t end = begin;
    while (end < items.size() && equal(items[end].first, items[begin].first, run.budget()))
      group.push_back(items[end++].second);
    out.push_back(run.list(
        {look_up(run, items[begin].second, a[0], fallback), run.list(std::move(group))}, true));
    begin = end;
  }
  return run.list(std::move(out));
}

Value summed(Run& run, const Value& v, const Bound& a) {
  Value out = a.given(1) ? a[1] : Value::of(std::int64_t{0});
  for (const Value& item : iterate(v, run.budget()))
    out = binary(run, "+", out, look_up(run, item, optional_argument(a, 0)));
  return out;
}

Value joined(Run& run, const Value& v, const Bound& a) {
  const std::string between = a.given(0) ? run.str(a[0]) : "";
  std::string out;
  bool first = true;
  for (const Value& item : iterate(v, run.budget())) {
    if (!first) out += between;
    first = false;
    const std::string text = run.str(look_up(run, item, optional_argument(a, 1)));
    run.budget().bytes(text.size() + between.size());
    out += text;
  }
  return run.text(std::move(out));
}

Value first_item(Run& run, const Value& v, const Bound&) {
  const List items = iterate(v, run.budget());
  return items.empty() ? Value::undefined("expected a first item, found an empty list") : items[0];
}

Value last_item(Run& run, const Value& v, const Bound&) {
  const List items = iterate(v, run.budget());
  return items.empty() ? Value::undefined("expected a last item, found an empty list")
                       : items.back();
}

Value as_list(Run& run, const Value& v, const Bound&) { return run.list(iterate(v, run.budget())); }

Value reversed(Run& run, const Value& v, const Bound&) {
  List items = iterate(v, run.budget());
  std::reverse(items.begin(), items.end());
  if (!v.is_text()) return run.list(std::move(items));
  std::string out;
  for (const Value& item : items) out += item.text();
  return run.text(std::move(out));
}

Value items_of(Run& run, const Value& v, const Bound&) {
  if (v.is_undefined()) return run.list({});
  if (!v.is_dict()) fail(fmt::format("expected a dict, found {}", type_name(v)));
  return *call_method(run, v, "items", {});
}

std::size_t size_argument(const Bound& a) {
  const std::int64_t n = a.integer(0, std::nullopt);
  constexpr std::int64_t kMost = 100'000;
  if (n < 1 || n > kMost) fail(fmt::format("expected a number from 1 to {}, found {}", kMost, n));
  return static_cast<std::size_t>(n);
}

Value batched(Run& run, const Value& v, const Bound& a) {
  const std::size_t n = size_argument(a);
  const List items = iterate(v, run.budget());
  List out;
  for (std::size_t begin = 0; begin < items.size(); begin += n) {
    List row(items.begin() + static_cast<std::ptrdiff_t>(begin),
             items.begin() + static_cast<std::ptrdiff_t>(std::min(begin + n, items.size())));
    if (a.has(1)) row.resize(n, a[1]);
    out.push_back(run.list(std::move(row)));
  }
  return run.list(std::move(out));
}

Value sliced(Run& run, const Value& v, const Bound& a) {
  const std::size_t n = size_argument(a);
  const List items = iterate(v, run.budget());
  const std::size_t each = items.size() / n;
  const std::size_t longer = items.size() % n;
  List out;
  auto at = items.begin();
  for (std::size_t i = 0; i < n; ++i) {
    const auto end = at + static_cast<std::ptrdiff_t>(each + (i < longer ? 1 : 0));
    List row(at, end);
    if (a.has(1) && i >= longer) row.push_back(a[1]);
    out.push_back(run.list(std::move(row)));
    at = end;
  }
  return run.list(std::move(out));
}

constexpr std::array<Filter, 15> kFilters = {{
    {"batch", "linecount fill_with", batched},
    {"dictsort", "case_sensitive by reverse", sorted_dict},
    {"first", "", first_item},
    {"groupby", "attribute default case_sensitive", grouped},
    {"items", "", items_of},
    {"join", "d attribute", joined},
    {"last", "", last_item},
    {"list", "", as_list},
    {"max", "case_sensitive attribute", extreme<true>},
    {"min", "case_sensitive attribute", extreme<false>},
    {"reverse", "", reversed},
    {"slice", "slices fill_with", sliced},
    {"sort", "reverse case_sensitive attribute", sorted},
    {"sum", "attribute start", summed},
    {"unique", "case_sensitive attribute", unique},
}};

// map("filter", ...) or map(attribute="...", default=...).
Value mapped(Run& run, const Value& v, const Arguments& arguments) {
  List out;
  if (arguments.positional.empty()) {
    const Value* attribute = nullptr;
    const Value* fallback = nullptr;
    for (const auto& [name, value] : arguments.named) {
      if (name == "attribute") attribute = &value;
      if (name == "default" && !value.is_none()) fallback = &value;
    }
    if (attribute == nullptr) fail("expected map with a filter or an attribute, found neither");
    for (const Value& item : iterate(v, run.budget()))
      out.push_back(look_up(run, item, *attribute, fallback));
    return run.list(std::move(out));
  }
  if (!arguments.positional[0].is_text()) fail("expected the name of a filter to map");
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin());
  for (const Value& item : iterate(v, run.budget()))
    out.push_back(run.filter(arguments.positional[0].text(), item, rest));
  return run.list(std::move(out));
}

struct Choice {
  std::string_view name;
  bool by_attribute;
  bool keeps;  ///< what passes the test
};
constexpr std::array<Choice, 4> kChoices = {{{"select", false, true},
                                             {"reject", false, false},
                                             {"selectattr", true, true},
                                             {"rejectattr", true, false}}};

Value chosen(Run& run, const Choice& choice, const Value& v, const Arguments& arguments) {
  Arguments rest = arguments;
  Value attribute;
  const auto next = [&] {
    Value out = rest.positional[0];
    rest.positional.erase(rest.positional.begin());
    return out;
  };
  if (choice.by_attribute) {
    if (rest.positional.empty()) fail(fmt::format("expected an attribute for {}", choice.name));
    attribute = next();
  }
  std::string test;
  if (!rest.positional.empty()) {
    const Value name = next();
    if (!name.is_text()) fail(fmt::format("expected the name of a test for {}", choice.name));
    test = name.text();
  }
  List out;
  for (const Value& item : iterate(v, run.budget())) {
    const Value judged = look_up(run, item, attribute);
    const bool passes = test.empty() ? truth(judged) : run.test(test, judged, rest);
    if (passes == choice.keeps) out.push_back(item);
  }
  return run.list(std::move(out));
}

}  // namespace

const Filter* find_list_filter(std::string_view name) {
  for (const Filter& filter : kFilters) {
    if (filter.name == name) return &filter;
  }
  return nullptr;
}

Value Run::filter(std::string_view name, const Value& value, const Arguments& arguments) {
  const Level level(*this);
  budget_.step();
  if (name == "map") return mapped(*this, value, arguments);
  for (const Choice& choice : kChoices) {
    if (choice.name == name) return chosen(*this, choice, value, arguments);
  }
  if (name == "format") {
    return percent(*this, str(value), arguments.positional);
  }
  const Filter* found = find_text_filter(name);
  if (found == nullptr) found = find_list_filter(name);
  if (found == nullptr) {
    fail("expected a filter of Jinja after |, found " + json::quote(name), ErrorCode::kUnsupported);
  }
  if (value.is_text()) budget_.step(value.text().size() / 16);
  return found->body(*this, value, Bound(name, found->parameters, arguments));
}

}  // namespace headscope::jinja
