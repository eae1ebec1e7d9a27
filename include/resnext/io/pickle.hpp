/// @file
/// The part of Python's pickle format (docs.python.org/3/library/pickletools.html, protocols 2 to 5) that a dictionary
/// of tensors is written in. Nothing is executed or imported: what a pickle may name is a list, and everything else is
/// refused by its name.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <resnext/error.hpp>
#include <resnext/tensor/dtype.hpp>
#include <resnext/io/file.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace resnext::detail {

inline constexpr std::size_t max_pickle_bytes = std::size_t{64} << 20;
inline constexpr std::size_t max_pickle_values = std::size_t{1} << 21;

/// What a value of a pickle is.
enum class PickleKind : std::uint8_t {
  none,
  boolean,
  integer,
  real,
  text,
  list,          // tuples and sizes too
  dictionary,    // keys and values in turn
  storage_type,  // torch.FloatStorage
  storage,       // key of the storage, number of elements
  tensor,        // a storage, offset, extents, strides
  ordered_dict,  // the types and functions that may be called
  size,
  rebuild_tensor,
  rebuild_parameter
};

/// A value; others are named by their index, so that they can be shared as in Python.
struct PickleValue {
  PickleKind kind = PickleKind::none;
  Dtype dtype = Dtype::F32;            ///< of a storage or its type
  std::int64_t number = 0;             ///< an integer, a truth, the elements of a storage, the offset of a tensor
  std::string_view text{};             ///< a text, the key of a storage, a real number's bytes
  std::vector<std::uint32_t> items{};  ///< of lists and dictionaries; a tensor's storage, extents and strides
};

/// What a pickle may name.
struct PickleName {
  std::string_view module, name;
  PickleKind kind;
  Dtype dtype = Dtype::F32;
};
inline constexpr std::array<PickleName, 15> pickle_names{
    {{"collections", "OrderedDict", PickleKind::ordered_dict},
     {"torch", "Size", PickleKind::size},
     {"torch._utils", "_rebuild_tensor", PickleKind::rebuild_tensor},
     {"torch._utils", "_rebuild_tensor_v2", PickleKind::rebuild_tensor},
     {"torch._utils", "_rebuild_parameter", PickleKind::rebuild_parameter},
     {"torch", "FloatStorage", PickleKind::storage_type, Dtype::F32},
     {"torch", "DoubleStorage", PickleKind::storage_type, Dtype::F64},
     {"torch", "HalfStorage", PickleKind::storage_type, Dtype::F16},
     {"torch", "BFloat16Storage", PickleKind::storage_type, Dtype::BF16},
     {"torch", "LongStorage", PickleKind::storage_type, Dtype::I64},
     {"torch", "IntStorage", PickleKind::storage_type, Dtype::I32},
     {"torch", "ShortStorage", PickleKind::storage_type, Dtype::I16},
     {"torch", "CharStorage", PickleKind::storage_type, Dtype::I8},
     {"torch", "ByteStorage", PickleKind::storage_type, Dtype::U8},
     {"torch", "BoolStorage", PickleKind::storage_type, Dtype::BOOL}}};

/// Reads a whole pickle. The text of values is that of the pickle, which must stay.
class Unpickler {
 public:
  /// @throws FileError "path: data.pkl, byte N: ..." for what is damaged or not in the list
  Unpickler(std::string_view pickle, const std::string& path) : pickle_(pickle), path_(path) {
    if (pickle.size() > max_pickle_bytes)
      refuse("expected at most ", max_pickle_bytes, " bytes, found ", pickle.size());
    while (!step()) continue;
  }

  /// The value that was pickled.
  std::uint32_t root() const { return root_; }
  const PickleValue& operator[](std::uint32_t index) const { return values_[index]; }

 private:
  using Items = std::vector<std::uint32_t>;

  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    throw_error<FileError>(path_, ": data.pkl, byte ", start_, ": ", parts...);
  }

  // ---- bytes ----

  std::string_view take(std::uint64_t size) {
    if (size > pickle_.size() - at_) refuse("expected ", size, " more bytes, found ", pickle_.size() - at_);
    at_ += static_cast<std::size_t>(size);
    return pickle_.substr(at_ - static_cast<std::size_t>(size), static_cast<std::size_t>(size));
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view line() {
    const std::size_t end = pickle_.find('\n', at_);
    if (end == std::string_view::npos) refuse("the line does not end");
    const std::string_view text = take(end - at_);
    take(1);
    return text;
  }

  // ---- stack ----

  void push(std::uint32_t index) { stack_.push_back(index); }
  PickleValue& make(PickleKind kind) {
    if (values_.size() == max_pickle_values) refuse("expected at most ", max_pickle_values, " values");
    push(static_cast<std::uint32_t>(values_.size()));
    values_.emplace_back();
    values_.back().kind = kind;
    return values_.back();
  }
  std::uint32_t pop() {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) refuse("expected a value on the stack, found none");
    const std::uint32_t index = stack_.back();
    stack_.pop_back();
    return index;
  }
  /// What is above the last mark.
  Items pop_marked() {
    if (marks_.empty()) refuse("expected a mark on the stack, found none");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    Items items(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return items;
  }
  PickleValue& top(PickleKind kind, std::string_view expected) {
    const std::uint32_t index = pop();
    push(index);
    if (values_[index].kind != kind) refuse("expected ", expected);
    return values_[index];
  }
  void list(Items items) {
    PickleValue& value = make(PickleKind::list);
    value.items = std::move(items);
  }
  void fixed_tuple(std::size_t size) {
    Items items(size);
    for (std::size_t i = size; i-- > 0;) items[i] = pop();
    list(std::move(items));
  }
  void append(PickleKind kind, std::string_view expected, const Items& items) {
    Items& all = top(kind, expected).items;
    all.insert(all.end(), items.begin(), items.end());
  }
  void set_items(const Items& items) {
    if (items.size() % 2 != 0) refuse("expected keys with values");
    append(PickleKind::dictionary, "a dictionary to put items into", items);
  }

  static constexpr std::uint32_t nothing = 0xFFFFFFFF;

  void get(std::uint32_t key) {
    if (key >= memo_.size() || memo_[key] == nothing) refuse("nothing was remembered as ", key);
    push(memo_[key]);
  }
  void put(std::uint32_t key) {
    // keys count up, and each takes bytes
    if (key >= pickle_.size()) refuse("expected a key below ", pickle_.size(), ", found ", key);
    const std::uint32_t index = pop();
    push(index);
    if (key >= memo_.size()) memo_.resize(std::size_t{key} + 1, nothing);
    if (memo_[key] == nothing) ++remembered_;
    memo_[key] = index;
  }

  // ---- names and calls ----

  void global(std::string_view module, std::string_view name) {
    const auto at = std::find_if(pickle_names.begin(), pickle_names.end(),
                                 [&](const PickleName& each) { return each.module == module && each.name == name; });
    if (at == pickle_names.end()) {
      refuse("it needs ", detail::quoted(std::string(module).append(".").append(name)),
             ", which a file of weights does not: load it in Python and save its state_dict alone");
    }
    make(at->kind).dtype = at->dtype;
  }

  const Items& arguments(std::uint32_t index, std::size_t least, std::string_view what) const {
    const PickleValue& value = values_[index];
    if (value.kind != PickleKind::list || value.items.size() < least) {
      refuse(what, ": expected a tuple of at least ", least, " arguments");
    }
    return value.items;
  }
  const PickleValue& argument(std::uint32_t index, PickleKind kind, std::string_view what) const {
    if (values_[index].kind != kind) refuse(what, ": an argument is of another type than expected");
    return values_[index];
  }

  void call() {
    const std::uint32_t tuple = pop(), function = pop();
    switch (values_[function].kind) {
      case PickleKind::ordered_dict: {  // empty, and filled later; or of a list of pairs
        Items pairs;
        if (const Items& given = arguments(tuple, 0, "OrderedDict"); !given.empty()) {
          const Items& list = argument(given[0], PickleKind::list, "OrderedDict").items;
          if ((copied_ += list.size()) > max_pickle_values) refuse("expected at most ", max_pickle_values, " values");
          for (const std::uint32_t pair : list) {
            const Items& two = arguments(pair, 2, "OrderedDict");
            pairs.insert(pairs.end(), two.begin(), two.begin() + 2);
          }
        }
        make(PickleKind::dictionary).items = std::move(pairs);
        return;
      }
      case PickleKind::size:
        return push(arguments(tuple, 1, "torch.Size")[0]);
      case PickleKind::rebuild_parameter: {
        const std::uint32_t data = arguments(tuple, 1, "_rebuild_parameter")[0];
        argument(data, PickleKind::tensor, "_rebuild_parameter");
        return push(data);
      }
      case PickleKind::rebuild_tensor: {
        const Items& given = arguments(tuple, 4, "_rebuild_tensor");
        argument(given[0], PickleKind::storage, "_rebuild_tensor");
        const std::int64_t offset = argument(given[1], PickleKind::integer, "_rebuild_tensor").number;
        argument(given[2], PickleKind::list, "_rebuild_tensor");
        argument(given[3], PickleKind::list, "_rebuild_tensor");
        Items parts{given[0], given[2], given[3]};
        PickleValue& tensor = make(PickleKind::tensor);
        tensor.items = std::move(parts);
        tensor.number = offset;
        return;
      }
      default:
        refuse("expected a function to call");
    }
  }

  /// The only thing that PyTorch keeps outside a pickle: ('storage', type, key, device, elements).
  void persistent() {
    const Items& given = arguments(pop(), 5, "a storage");
    const auto& kind = argument(given[0], PickleKind::text, "a storage");
    if (kind.text != "storage") refuse("expected a storage, found ", detail::quoted(kind.text));
    const Dtype dtype = argument(given[1], PickleKind::storage_type, "a storage").dtype;
    const std::string_view key = argument(given[2], PickleKind::text, "a storage").text;
    const std::int64_t elements = argument(given[4], PickleKind::integer, "a storage").number;
    PickleValue& storage = make(PickleKind::storage);
    storage.dtype = dtype;
    storage.text = key;
    storage.number = elements;
  }

  // ---- opcodes ----

  void integer(std::int64_t value) { make(PickleKind::integer).number = value; }
  void text(std::string_view value) { make(PickleKind::text).text = value; }

  void long_integer(std::string_view bytes) {
    if (bytes.size() > 8) refuse("expected an integer of at most 8 bytes, found ", bytes.size());
    std::uint64_t value = !bytes.empty() && static_cast<signed char>(bytes.back()) < 0 ? ~std::uint64_t{0} : 0;
    std::memcpy(&value, bytes.data(), bytes.size());
    integer(static_cast<std::int64_t>(value));
  }

  /// True when the pickle has ended.
  bool step() {
    start_ = at_;
    const char code = take(1)[0];
    switch (code) {
      case '\x80':  // PROTO
        if (const auto protocol = number<std::uint8_t>(); protocol < 2 || protocol > 5) {
          refuse("expected protocol 2 to 5, found ", int{protocol});
        }
        break;
      case '\x95':  // FRAME
        take(8);
        break;
      case '.':  // STOP
        marks_.clear();
        root_ = pop();
        return true;
      case '(':
        marks_.push_back(stack_.size());
        break;
      case '0':  // POP
        pop();
        break;
      case '1':  // POP_MARK
        pop_marked();
        break;
      case '2': {  // DUP
        const std::uint32_t index = pop();
        push(index);
        push(index);
        break;
      }
      case 'N':
        make(PickleKind::none);
        break;
      case '\x88':
      case '\x89':
        make(PickleKind::boolean).number = code == '\x88';
        break;
      case 'J':
        integer(number<std::int32_t>());
        break;
      case 'K':
        integer(number<std::uint8_t>());
        break;
      case 'M':
        integer(number<std::uint16_t>());
        break;
      case '\x8a':  // LONG1
        long_integer(take(number<std::uint8_t>()));
        break;
      case 'G':  // BINFLOAT
        make(PickleKind::real).text = take(8);
        break;
      case 'X':
      case 'T':  // BINUNICODE, and BINSTRING of Python 2
        text(take(number<std::uint32_t>()));
        break;
      case 'U':
      case '\x8c':
        text(take(number<std::uint8_t>()));
        break;
      case '\x8d':
        text(take(number<std::uint64_t>()));
        break;
      case 'C':  // bytes: their place is among the values that are passed over
        text(take(number<std::uint8_t>()));
        break;
      case 'B':
        text(take(number<std::uint32_t>()));
        break;
      case ')':
      case ']':
        list({});
        break;
      case 't':
      case 'l':
        list(pop_marked());
        break;
      case '\x85':
      case '\x86':
      case '\x87':
        fixed_tuple(static_cast<std::size_t>(code - '\x84'));
        break;
      case '}':
        make(PickleKind::dictionary);
        break;
      case 'a': {
        const std::uint32_t item = pop();
        append(PickleKind::list, "a list to append to", {item});
        break;
      }
      case 'e':
        append(PickleKind::list, "a list to append to", pop_marked());
        break;
      case 's': {
        const std::uint32_t value = pop(), key = pop();
        set_items({key, value});
        break;
      }
      case 'u':
        set_items(pop_marked());
        break;
      case 'd': {
        Items items = pop_marked();
        make(PickleKind::dictionary);
        set_items(items);
        break;
      }
      case 'q':
        put(number<std::uint8_t>());
        break;
      case 'r':
        put(number<std::uint32_t>());
        break;
      case '\x94':  // MEMOIZE
        put(remembered_);
        break;
      case 'h':
        get(number<std::uint8_t>());
        break;
      case 'j':
        get(number<std::uint32_t>());
        break;
      case 'c': {
        const std::string_view module = line(), name = line();
        global(module, name);
        break;
      }
      case '\x93': {  // STACK_GLOBAL
        const std::uint32_t name = pop(), module = pop();
        global(argument(module, PickleKind::text, "a name").text, argument(name, PickleKind::text, "a name").text);
        break;
      }
      case 'R':
        call();
        break;
      case 'Q':
        persistent();
        break;
      case 'b':  // the attributes of an OrderedDict, such as a state dict's versions
        pop();
        top(PickleKind::dictionary, "a dictionary with attributes");
        break;
      default:
        refuse("the operation ", static_cast<int>(static_cast<unsigned char>(code)),
               " has no place in a file of weights: load it in Python and save its state_dict alone");
    }
    return false;
  }

  std::string_view pickle_;
  const std::string& path_;
  std::size_t at_ = 0, start_ = 0;  // of the operation
  std::vector<PickleValue> values_;
  Items stack_;
  std::vector<std::size_t> marks_;
  Items memo_;
  std::uint32_t remembered_ = 0;
  std::size_t copied_ = 0;  // items of lists of pairs
  std::uint32_t root_ = 0;
};

}  // namespace resnext::detail
