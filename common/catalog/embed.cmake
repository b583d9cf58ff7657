# Writes OUT, a .cc file that holds the bytes of the files IN (a list) as naru::catalog::NAME, an array of
# {name of the file, contents} that ends with an empty name.
set(text "#include \"common/catalog/embedded.h\"\n\nnamespace naru::catalog {\nnamespace {\n\n")
set(table "")
set(number 0)
foreach(file IN LISTS IN)
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n" bytes
         "${bytes}")
  string(APPEND text "const unsigned char kFile${number}[] = {${bytes}};\n\n")
  get_filename_component(name ${file} NAME)
  string(APPEND table "    {\"${name}\", kFile${number}, sizeof(kFile${number})},\n")
  math(EXPR number "${number} + 1")
endforeach()
string(APPEND text "}  // namespace\n\nconst EmbeddedFile ${NAME}[] = {\n${table}    {\"\", nullptr, 0},\n};\n\n}  // namespace naru::catalog\n")
file(WRITE ${OUT} "${text}")
